/* A worker's thread of the coordinator: takes jobs, has them done, replaces a runner that is lost. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "image/image.h"

enum {
  MAX_FAILURES = 5, /* in a row, then the worker is given up */
  /* Requests on an image that wait for the worker that has it before another one encodes it too: an encoding takes as
   * long as about that many prompts. */
  PATIENCE = 8
};

#define FIRST_PAUSE 0.05 /* seconds before a lost runner is started again, doubled with each failure */
#define WATCH 0.25       /* seconds between looks at an idle runner */

/* Waits for work, `seconds` at most. */
static void wait_for_work(struct sam3_engine *engine, double seconds) {
  struct timespec until;
  double end = clock_seconds() + seconds;
  until.tv_sec = (time_t)end;
  until.tv_nsec = (long)((end - (double)until.tv_sec) * 1e9);
  pthread_cond_timedwait(&engine->work, &engine->lock, &until);
}

/* --------------------------------------------------------------------------------- encoded images */

static int slot_of(const struct worker *w, uint64_t image) {
  for (int i = 0; i < w->n_slots; i++)
    if (w->slots[i].image == image)
      return i;
  return -1;
}

/* The slot to encode into: a free one, or the one not used for longest. */
static int slot_to_use(const struct worker *w) {
  int oldest = 0;
  for (int i = 0; i < w->n_slots && w->slots[oldest].image; i++)
    if (!w->slots[i].image || w->slots[i].used < w->slots[oldest].used)
      oldest = i;
  return oldest;
}

static void forget_images(struct worker *w) {
  free(w->slots);
  w->slots = NULL;
  w->n_slots = 0;
  w->stats.cached = 0;
}

/* ------------------------------------------------------------------------------------------- jobs */

/* True when another worker has the image and its queue is short. */
static bool better_elsewhere(const struct worker *w, const struct sam3_job *job) {
  const struct sam3_engine *engine = w->engine;
  bool elsewhere = false;
  for (size_t i = 0; i < engine->n_workers; i++)
    elsewhere |= slot_of(&engine->workers[i], job->image->id) >= 0;
  if (!elsewhere || slot_of(w, job->image->id) >= 0)
    return false;
  int waiting = 0;
  for (const struct queued *at = engine->queue.first; at; at = at->next)
    waiting += job_of(at)->image == job->image;
  return waiting <= PATIENCE;
}

/* The first job in the queue that is this worker's to do; NULL: none. */
static struct sam3_job *choose(const struct worker *w) {
  for (const struct queued *at = w->engine->queue.first; at; at = at->next)
    if (!better_elsewhere(w, job_of(at)))
      return job_of(at);
  return NULL;
}

/* Waits for a job; NULL: the runner is gone or the engine closes. The lock is held. */
static struct sam3_job *take(struct worker *w) {
  struct sam3_engine *engine = w->engine;
  for (;;) {
    if (engine->closing || !w->runner->ops->alive(w->runner))
      return NULL;
    struct sam3_job *job = choose(w);
    if (job) {
      queue_remove(&engine->queue, &job->queued);
      return job;
    }
    wait_for_work(engine, WATCH);
  }
}

static bool on_progress(void *user, const char *stage, double fraction) {
  struct sam3_job *job = user;
  pthread_mutex_lock(&job->engine->lock);
  job->stage = stage;
  job->fraction = fraction;
  bool go_on = !job->cancelled && !job->timed_out;
  pthread_mutex_unlock(&job->engine->lock);
  job_tell(job);
  return go_on;
}

/* Makes the job this worker's; the lock is held. */
static struct task begin(struct worker *w, struct sam3_job *job) {
  struct sam3_engine *engine = w->engine;
  int slot = slot_of(w, job->image->id);
  struct task task = {.slot = slot >= 0 ? slot : slot_to_use(w),
                      .image = slot >= 0 ? NULL : job->image,
                      .prompts = job->prompts,
                      .n_prompts = job->n_prompts,
                      .threshold = job->threshold,
                      .progress = on_progress,
                      .user = job};
  w->slots[task.slot] = (struct cached){job->image->id, ++engine->clock};
  w->stats.state = SAM3_WORKER_BUSY;
  w->busy_since = clock_seconds();
  job->phase = SAM3_RUNNING;
  job->stage = "starting";
  job->started = w->busy_since;
  job->encoded = task.image != NULL;
  memcpy(job->device, w->device, sizeof job->device);
  engine->running[w - engine->workers] = job;
  return task;
}

/* What the worker remembers of a task; the lock is held. */
static void account(struct worker *w, const struct task *task, const struct task_report *report, bool done) {
  struct sam3_worker_stats *stats = &w->stats;
  stats->busy += clock_seconds() - w->busy_since;
  stats->requests += done;
  stats->failures += !done;
  stats->cache_hits += done && !task->image;
  stats->images += task->image && report->encoded;
  if (report->memory)
    stats->memory = report->memory;
  for (int i = 0; i < SAM3_MAX_STAGES && report->stages[i].stage; i++)
    stage_add(stats->stages, report->stages[i].stage, report->stages[i].count, report->stages[i].seconds);
  if (!report->encoded)
    w->slots[task->slot].image = 0;
  stats->cached = 0;
  for (int i = 0; i < w->n_slots; i++)
    stats->cached += w->slots[i].image != 0;
  stats->state = SAM3_WORKER_IDLE;
  w->engine->running[w - w->engine->workers] = NULL;
}

/* Does one job. A job whose runner is lost goes back into the queue, once. */
static void do_job(struct worker *w, struct sam3_job *job, const struct task *task) {
  struct sam3_engine *engine = w->engine;
  struct sam3_results *results;
  struct task_report report = {0};
  struct sam3_error err;
  job_tell(job);
  engine_tell_waiting(engine);
  sam3_status status = w->runner->ops->run(w->runner, task, &results, &report, &err);
  bool lost = w->runner->lost;

  pthread_mutex_lock(&engine->lock);
  account(w, task, &report, status == SAM3_OK || status == SAM3_ERR_CANCELLED);
  bool again = lost && !job->retried && !job->cancelled && !job->timed_out && !engine->closing;
  if (again) {
    job->retried = true;
    job->phase = SAM3_QUEUED;
    job->started = 0;
    job->fraction = 0;
    queue_return(&engine->queue, &job->queued);
  } else {
    job_end(job, status == SAM3_OK ? results : NULL, status == SAM3_OK ? NULL : &err);
  }
  if (!lost)
    w->failures = 0;
  pthread_cond_broadcast(&engine->work);
  pthread_mutex_unlock(&engine->lock);
  job_tell(job);
  if (!again)
    job_release(job);
}

/* ---------------------------------------------------------------------------------------- runners */

/* In a process: one that is started, or the launcher's, waited for. */
static sam3_status open_remote(struct worker *w, const struct runner_options *options, struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  struct endpoint end;
  if (!w->rank) {
    TRY(endpoint_spawn(engine->program, &end, err));
  } else if (!meeting_take(engine->meeting, w->rank, &end)) {
    return fail(err, SAM3_ERR_CANCELLED, "the engine is closed");
  } else {
    pthread_mutex_lock(&engine->lock);
    memcpy(w->device, end.device, sizeof w->device);
    memcpy(w->stats.device, end.device, sizeof w->device);
    w->stats.restarts += w->opened > 0;
    pthread_mutex_unlock(&engine->lock);
  }
  return remote_open(&end, options, &w->runner, err);
}

static sam3_status open_runner(struct worker *w, struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  struct runner_options options = engine->runner;
  options.session.device = w->device;
  const bool local = engine->meeting ? !w->rank : engine->parallel != SAM3_PARALLEL_PROCESSES;
  TRY(local ? local_open(engine->model, &options, &w->runner, err) : open_remote(w, &options, err));
  struct cached *slots = mem_zeroed((size_t)w->runner->slots, sizeof *slots);
  if (!slots) {
    w->runner->ops->close(w->runner);
    w->runner = NULL;
    return fail_memory(err, sizeof *slots, "a worker");
  }
  pthread_mutex_lock(&engine->lock);
  w->slots = slots;
  w->n_slots = w->runner->slots;
  w->stats.process = w->runner->process;
  w->stats.memory = w->runner->memory;
  w->stats.weights = w->runner->weights;
  pthread_mutex_unlock(&engine->lock);
  return SAM3_OK;
}

static void close_runner(struct worker *w) {
  if (w->runner)
    w->runner->ops->close(w->runner);
  w->runner = NULL;
}

/* Nobody is left to do what waits; the lock is held, and let go while callers are told. */
static void fail_waiting(struct sam3_engine *engine, const struct sam3_error *err) {
  for (struct queued *item; (item = engine->queue.first);) {
    struct sam3_job *job = job_of(item);
    queue_remove(&engine->queue, item);
    job_end(job, NULL, err);
    pthread_mutex_unlock(&engine->lock);
    job_tell(job);
    job_release(job);
    pthread_mutex_lock(&engine->lock);
  }
}

/* A new state, of which everyone learns; the lock is held. */
static void set_state(struct worker *w, sam3_worker_state state) {
  w->stats.state = state;
  pthread_cond_broadcast(&w->engine->done);
  pthread_cond_broadcast(&w->engine->work);
}

/* The worker counts no more, for now or for good; when it was the last, what waits fails. The lock is held. */
static void lose(struct worker *w, const struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  set_state(w, SAM3_WORKER_DEAD);
  bool left = false;
  for (size_t i = 0; i < engine->n_workers; i++)
    left |= engine->workers[i].stats.state != SAM3_WORKER_DEAD;
  if (!left)
    fail_waiting(engine, err);
}

/* The runner could not be opened, or was lost; false: the worker is given up. The lock is held. */
static bool failed(struct worker *w, const struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  bool first = !w->opened;
  forget_images(w);
  w->failures++;
  if (first || w->rank || w->failures >= MAX_FAILURES) {
    if (first && engine->start_error.status == SAM3_OK)
      engine->start_error = *err;
    lose(w, err);
    return !first && w->rank; /* it may come again */
  }
  set_state(w, SAM3_WORKER_STARTING);
  w->stats.restarts++;
  double until = clock_seconds() + ldexp(FIRST_PAUSE, w->failures - 1);
  for (double left; !engine->closing && (left = until - clock_seconds()) > 0;)
    wait_for_work(engine, left);
  return true;
}

void *worker_main(void *arg) {
  struct worker *w = arg;
  struct sam3_engine *engine = w->engine;
  struct sam3_error err;
  bool going = true;
  while (going) {
    sam3_status status = w->runner ? SAM3_OK : open_runner(w, &err);
    pthread_mutex_lock(&engine->lock);
    if (status != SAM3_OK) {
      going = failed(w, &err) && !engine->closing;
      pthread_mutex_unlock(&engine->lock);
      continue;
    }
    if (!w->opened)
      w->opened = clock_seconds();
    set_state(w, SAM3_WORKER_IDLE);
    struct sam3_job *job = take(w);
    struct task task = job ? begin(w, job) : (struct task){0};
    going = !engine->closing || job;
    pthread_mutex_unlock(&engine->lock);
    if (job)
      do_job(w, job, &task);
    if (going && (!job || w->runner->lost)) {
      close_runner(w);
      fail(&err, SAM3_ERR_DEVICE, "the worker of %s ended unexpectedly", w->device);
      pthread_mutex_lock(&engine->lock);
      going = failed(w, &err) && !engine->closing;
      pthread_mutex_unlock(&engine->lock);
    }
  }
  close_runner(w);
  return NULL;
}
