#include "cli/pipeline.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TICK 0.1 /* seconds between looks at signals and progress */

/* A thread and what it has in hand. */
struct seat {
  struct crew *crew;
  pthread_t thread;
  bool taken;
  struct pipeline_item item;
  sam3_job *job; /* NULL: being read or written */
};

struct crew {
  const struct pipeline *line;
  struct seat *seats;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  size_t taken, handed_over; /* images */
  size_t working;            /* threads */
  bool stopping;
};

/* ---------------------------------------------------------------------------------------- signals */

static atomic_int running; /* 1: a pipeline takes signals, 2: it has taken one */
static atomic_int came;    /* the signal */

int exit_code_of_signal(int number) {
  return number == SIGINT ? EXIT_INTERRUPTED : 128 + number;
}

bool pipeline_interrupt(int number) {
  if (running == 2)
    _exit(exit_code_of_signal(number));
  came = number;
  return running == 1;
}

/* -------------------------------------------------------------------------------------- one image */

static bool take(struct seat *seat) {
  struct crew *crew = seat->crew;
  pthread_mutex_lock(&crew->lock);
  seat->item = (struct pipeline_item){.index = crew->taken};
  seat->taken = !crew->stopping && crew->line->next(crew->line->user, &seat->item);
  crew->taken += seat->taken;
  crew->working -= !seat->taken;
  bool taken = seat->taken;
  pthread_cond_broadcast(&crew->changed);
  pthread_mutex_unlock(&crew->lock);
  return taken;
}

/* The seat's job from now on; one that comes too late is cancelled. */
static void set_job(struct seat *seat, sam3_job *job) {
  struct crew *crew = seat->crew;
  pthread_mutex_lock(&crew->lock);
  seat->job = job;
  if (job && crew->stopping)
    sam3_job_cancel(job);
  pthread_cond_broadcast(&crew->changed);
  pthread_mutex_unlock(&crew->lock);
}

static void segment(struct seat *seat) {
  const struct pipeline *line = seat->crew->line;
  struct pipeline_item *item = &seat->item;
  sam3_job *job;
  if (sam3_image_read(item->path, line->max_pixels, &item->image, &item->err) != SAM3_OK)
    return;
  struct sam3_request request = {.image = item->image,
                                 .prompts = line->prompts->items,
                                 .n_prompts = line->prompts->count,
                                 .threshold = line->prompts->threshold};
  if (sam3_engine_submit(line->engine, &request, &job, &item->err) != SAM3_OK)
    return;
  set_job(seat, job);
  sam3_job_wait(job, &item->results, &item->err);
  item->seconds = sam3_job_state(job).running;
  set_job(seat, NULL);
  sam3_job_free(job);
}

static void hand_over(struct seat *seat) {
  struct crew *crew = seat->crew;
  struct pipeline_item *item = &seat->item;
  pthread_mutex_lock(&crew->lock);
  while (crew->line->ordered && crew->handed_over != item->index)
    pthread_cond_wait(&crew->changed, &crew->lock);
  pthread_mutex_unlock(&crew->lock);

  bool go_on = crew->line->done(crew->line->user, item);
  sam3_results_free(item->results);
  sam3_image_free(item->image);

  pthread_mutex_lock(&crew->lock);
  crew->handed_over++;
  crew->stopping |= !go_on;
  seat->taken = false;
  pthread_cond_broadcast(&crew->changed);
  pthread_mutex_unlock(&crew->lock);
}

static void *work(void *arg) {
  struct seat *seat = arg;
  while (take(seat)) {
    segment(seat);
    hand_over(seat);
  }
  return NULL;
}

/* ------------------------------------------------------------------------------------ all of them */

/* The lock is held. */
static void tick(struct crew *crew) {
  struct seat *oldest = NULL;
  for (size_t i = 0; i < crew->line->threads; i++) {
    struct seat *seat = &crew->seats[i];
    if (seat->taken && (!oldest || seat->item.index < oldest->item.index))
      oldest = seat;
  }
  struct sam3_job_state state;
  bool has_job = oldest && oldest->job;
  if (has_job)
    state = sam3_job_state(oldest->job);
  crew->line->tick(crew->line->user, oldest ? &oldest->item : NULL, has_job ? &state : NULL);
}

/* The lock is held. */
static void stop(struct crew *crew) {
  crew->stopping = true;
  for (size_t i = 0; i < crew->line->threads; i++)
    if (crew->seats[i].job)
      sam3_job_cancel(crew->seats[i].job);
}

static void watch(struct crew *crew) {
  pthread_mutex_lock(&crew->lock);
  while (crew->working) {
    struct timespec until;
    double end = seconds_now() + TICK;
    until.tv_sec = (time_t)end;
    until.tv_nsec = (long)((end - (double)until.tv_sec) * 1e9);
    tick(crew);
    pthread_cond_timedwait(&crew->changed, &crew->lock, &until);
    if (came && running == 1) {
      crew->line->interrupted(crew->line->user, came);
      running = 2;
      stop(crew);
    }
  }
  pthread_mutex_unlock(&crew->lock);
}

void pipeline_run(const struct pipeline *pipeline) {
  struct crew crew = {.line = pipeline, .working = pipeline->threads, .lock = PTHREAD_MUTEX_INITIALIZER};
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&crew.changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  crew.seats = need(calloc(pipeline->threads, sizeof *crew.seats));
  running = 1;
  for (size_t i = 0; i < pipeline->threads; i++) {
    crew.seats[i].crew = &crew;
    int problem = pthread_create(&crew.seats[i].thread, NULL, work, &crew.seats[i]);
    if (problem) {
      complain("a thread could not be started: %s", strerror(problem));
      output_abandon();
      _exit(EXIT_FAILED);
    }
  }
  watch(&crew);
  for (size_t i = 0; i < pipeline->threads; i++)
    pthread_join(crew.seats[i].thread, NULL);
  running = 0;
  progress_wipe();
  pthread_cond_destroy(&crew.changed);
  pthread_mutex_destroy(&crew.lock);
  free(crew.seats);
}
