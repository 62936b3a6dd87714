/* A worker's thread of the coordinator: takes jobs, has them done, replaces a runner that is lost. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "image/image.h"

enum {
  MAX_FAILURES = 5, /* in a row, to start or to end a task; then the worker is given up */
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

static int slot_of(const struct slots *slots, uint64_t image) {
  for (int i = 0; i < slots->n; i++)
    if (slots->items[i].image == image)
      return i;
  return -1;
}

/* The slot to encode into: a free one, or the one not used for longest. */
static int slot_to_use(const struct slots *slots) {
  int oldest = 0;
  for (int i = 0; i < slots->n && slots->items[oldest].image; i++)
    if (!slots->items[i].image || slots->items[i].used < slots->items[oldest].used)
      oldest = i;
  return oldest;
}

static uint64_t images_in(const struct slots *slots) {
  uint64_t count = 0;
  for (int i = 0; i < slots->n; i++)
    count += slots->items[i].image != 0;
  return count;
}

/* ------------------------------------------------------------------------------------ whose job? */

/* True when another worker has the image and few wait for it. */
static bool better_elsewhere(const struct worker *w, const struct sam3_job *job) {
  const struct sam3_engine *engine = w->engine;
  bool elsewhere = false;
  for (size_t i = 0; i < engine->n_workers; i++)
    elsewhere |= slot_of(&engine->workers[i].slots, job->image->id) >= 0;
  if (!elsewhere || slot_of(&w->slots, job->image->id) >= 0)
    return false;
  int waiting = 0;
  for (const struct queued *at = engine->queue.first; at; at = at->next)
    waiting += job_of(at)->image == job->image;
  return waiting <= PATIENCE;
}

/* The first job in the queue that is this worker's to do; NULL: none. When its image would have to be encoded and the
 * batch is not full, one on an image that is encoded here goes before it. */
static struct sam3_job *choose(const struct worker *w) {
  struct sam3_job *first = NULL;
  for (const struct queued *at = w->engine->queue.first; at; at = at->next) {
    struct sam3_job *job = job_of(at);
    bool here = slot_of(&w->slots, job->image->id) >= 0;
    if (!first && !better_elsewhere(w, job)) {
      first = job;
      if (here || w->batch >= w->engine->batch)
        return first;
    } else if (first && here && at->background == first->queued.background) {
      return job;
    }
  }
  return first;
}

/* True when the first job in the queue is one for all workers together, who are idle. */
static bool wants_gang(const struct sam3_engine *engine) {
  if (!team_is_whole(engine) || !engine->queue.first || engine->gang.job)
    return false;
  bool kept = false; /* one worker has the image: prompts alone are quick there */
  for (size_t i = 0; i < engine->n_workers; i++) {
    const struct worker *w = &engine->workers[i];
    if (w->team && w->stats.state != SAM3_WORKER_IDLE)
      return false;
    kept |= slot_of(&w->slots, job_of(engine->queue.first)->image->id) >= 0;
  }
  return engine->schedule == SAM3_SCHEDULE_SPLIT || (engine->queue.count < (size_t)engine->team->ranks && !kept);
}

/* True when jobs wait for all workers to be idle, which then do them together. */
static bool waits_for_gang(const struct sam3_engine *engine) {
  return engine->gang.job ||
         (engine->runner.ranks && engine->schedule == SAM3_SCHEDULE_SPLIT && workers_left(engine) > 1);
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

/* Takes the job out of the queue; the task lies in one of `slots`. The lock is held. */
static struct task start_job(struct sam3_engine *engine, struct sam3_job *job, struct slots *slots, bool split) {
  queue_remove(&engine->queue, &job->queued);
  int slot = slot_of(slots, job->image->id);
  struct task task = {.split = split,
                      .slot = slot >= 0 ? slot : slot_to_use(slots),
                      .image = slot >= 0 ? NULL : job->image,
                      .prompts = job->prompts,
                      .n_prompts = job->n_prompts,
                      .threshold = job->threshold,
                      .progress = on_progress,
                      .user = job};
  slots->items[task.slot] = (struct cached){job->image->id, ++engine->clock};
  job->phase = SAM3_RUNNING;
  job->stage = "starting";
  job->started = clock_seconds();
  job->encoded = task.image != NULL;
  job->device[0] = '\0';
  return task;
}

/* The worker works from now on, at `job`; the lock is held. */
static void set_busy(struct worker *w, struct sam3_job *job) {
  w->stats.state = SAM3_WORKER_BUSY;
  w->busy_since = clock_seconds();
  size_t used = strlen(job->device);
  snprintf(job->device + used, sizeof job->device - used, "%s%s", used ? "+" : "", w->device);
}

/* All workers of the team are idle: calls them to the first job of the queue. */
static void call_gang(struct sam3_engine *engine) {
  struct sam3_job *job = job_of(engine->queue.first);
  struct team *team = engine->team;
  engine->gang = (struct gang){.job = job, .team = team, .left = (size_t)team->ranks};
  engine->gang.task = start_job(engine, job, &team->slots, true);
  engine->running[0] = job;
  team->users++;
  for (size_t i = 0; i < engine->n_workers; i++) {
    struct worker *w = &engine->workers[i];
    w->called = w->team == team;
    if (w->called)
      set_busy(w, job);
  }
  pthread_cond_broadcast(&engine->work);
}

/* Joins the team that is formed anew; without memory for it requests are one worker's alone from now on. False: the
 * runner is lost. */
static bool rejoin(struct worker *w) {
  struct sam3_error unused;
  if (team_join(w, &unused) != SAM3_OK && !w->runner->lost)
    w->engine->runner.ranks = 0;
  return !w->runner->lost;
}

/* Waits for a job. NULL: the worker is called to the gang, its runner is gone, or the engine closes. The lock is held.
 */
static struct sam3_job *take_job(struct worker *w, struct task *task) {
  struct sam3_engine *engine = w->engine;
  for (;;) {
    if (w->called || engine->closing)
      return NULL;
    if (!w->runner->ops->alive(w->runner) || !rejoin(w)) {
      w->runner->lost = true;
      w->stats.state = SAM3_WORKER_STARTING;
      return NULL;
    }
    struct sam3_job *job = wants_gang(engine) || waits_for_gang(engine) ? NULL : choose(w);
    if (job) {
      *task = start_job(engine, job, &w->slots, false);
      w->batch = task->image ? 1 : w->batch + 1;
      set_busy(w, job);
      engine->running[w - engine->workers] = job;
      return job;
    }
    if (wants_gang(engine))
      call_gang(engine);
    else
      wait_for_work(engine, WATCH);
  }
}

/* ------------------------------------------------------------------------------------- doing jobs */

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
    (task->split ? &w->team->slots : &w->slots)->items[task->slot].image = 0;
  stats->cached = images_in(&w->slots) + (w->team ? images_in(&w->team->slots) : 0);
  stats->state = w->runner->lost ? SAM3_WORKER_STARTING : SAM3_WORKER_IDLE;
  w->failures = w->runner->lost ? w->failures : 0;
}

static bool is_done(sam3_status status) {
  return status == SAM3_OK || status == SAM3_ERR_CANCELLED;
}

/* The job ends, or, when a runner was lost under it, goes back into the queue, once. Called with the lock, which is let
 * go. Takes over `results`. */
static void end_or_return(struct sam3_job *job, sam3_status status, struct sam3_results *results, bool lost,
                          const struct sam3_error *err) {
  struct sam3_engine *engine = job->engine;
  bool again = lost && status != SAM3_OK && !job->retried && !job->cancelled && !job->timed_out && !engine->closing;
  if (again) {
    job->retried = true;
    job->phase = SAM3_QUEUED;
    job->started = 0;
    job->fraction = 0;
    queue_return(&engine->queue, &job->queued);
  } else {
    job_end(job, status == SAM3_OK ? results : NULL, status == SAM3_OK ? NULL : err);
  }
  pthread_cond_broadcast(&engine->work);
  pthread_mutex_unlock(&engine->lock);
  job_tell(job);
  if (!again)
    job_release(job);
}

static void do_job(struct worker *w, struct sam3_job *job, const struct task *task) {
  struct sam3_engine *engine = w->engine;
  struct sam3_results *results;
  struct task_report report = {0};
  struct sam3_error err;
  job_tell(job);
  engine_tell_waiting(engine);
  sam3_status status = w->runner->ops->run(w->runner, task, &results, &report, &err);
  pthread_mutex_lock(&engine->lock);
  account(w, task, &report, is_done(status));
  engine->running[w - engine->workers] = NULL;
  end_or_return(job, status, results, w->runner->lost, &err);
}

/* This worker's part of the gang's task. The last to end it ends the job. */
static void do_part(struct worker *w) {
  struct sam3_engine *engine = w->engine;
  struct gang *gang = &engine->gang;
  bool first = w->team_rank == 0;
  struct sam3_results *results;
  struct task_report report = {0};
  struct sam3_error err;
  struct task task = gang->task; /* stands until all have ended their parts */
  if (first) {
    job_tell(gang->job);
    engine_tell_waiting(engine);
  } else {
    task.progress = NULL;
  }
  sam3_status status = w->runner->ops->run(w->runner, &task, &results, &report, &err);
  if (w->runner->lost || status == SAM3_ERR_MEMORY) /* perhaps before it met the others: they do not wait for it */
    split_break(gang->team->split, status, err.message);

  pthread_mutex_lock(&engine->lock);
  w->called = false;
  account(w, &task, &report, is_done(status));
  gang->lost |= w->runner->lost;
  if (first) {
    gang->status = status;
    gang->results = results;
    if (status != SAM3_OK)
      gang->error = err;
  } else {
    sam3_results_free(results);
  }
  if (--gang->left > 0) {
    pthread_mutex_unlock(&engine->lock);
    return;
  }
  split_form(gang->team->split);
  team_release(engine, gang->team);
  struct gang ended = *gang;
  *gang = (struct gang){0};
  engine->running[0] = NULL;
  end_or_return(ended.job, ended.status, ended.results, ended.lost, &ended.error);
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

static void close_runner(struct worker *w) {
  if (w->runner)
    w->runner->ops->close(w->runner);
  w->runner = NULL;
  pthread_mutex_lock(&w->engine->lock);
  team_leave(w);
  pthread_mutex_unlock(&w->engine->lock);
}

static sam3_status open_runner(struct worker *w, struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  struct runner_options options = engine->runner;
  options.session.device = w->device;
  const bool local = engine->meeting ? !w->rank : engine->parallel != SAM3_PARALLEL_PROCESSES;
  TRY(local ? local_open(engine->model, &options, &w->runner, err) : open_remote(w, &options, err));
  pthread_mutex_lock(&engine->lock);
  w->slots = (struct slots){.n = w->runner->slots};
  w->stats.process = w->runner->process;
  w->stats.memory = w->runner->memory;
  w->stats.weights = w->runner->weights;
  sam3_status status = team_join(w, err);
  pthread_mutex_unlock(&engine->lock);
  if (status != SAM3_OK)
    close_runner(w);
  return status;
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
  team_dissolve(engine);
  if (!workers_left(engine))
    fail_waiting(engine, err);
}

/* The runner could not be opened, or was lost; false: the worker is given up. One that was lost while it had nothing to
 * do has been killed from outside: that says nothing about what the next one will do. The lock is held. */
static bool failed(struct worker *w, bool idle, const struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  bool first = !w->opened;
  w->slots = (struct slots){0};
  w->stats.cached = 0;
  w->failures += !idle;
  if (first || w->rank || w->failures >= MAX_FAILURES) {
    if (first && engine->start_error.status == SAM3_OK)
      engine->start_error = *err;
    lose(w, err);
    return !first && w->rank; /* it may come again */
  }
  set_state(w, SAM3_WORKER_STARTING);
  w->stats.restarts++;
  double until = clock_seconds() + ldexp(FIRST_PAUSE, w->failures > 1 ? w->failures - 1 : 0);
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
      going = failed(w, false, &err) && !engine->closing;
      pthread_mutex_unlock(&engine->lock);
      continue;
    }
    if (!w->opened)
      w->opened = clock_seconds();
    if (!w->called)
      set_state(w, SAM3_WORKER_IDLE);
    struct task task;
    struct sam3_job *job = take_job(w, &task);
    bool called = w->called;
    pthread_mutex_unlock(&engine->lock);
    if (job)
      do_job(w, job, &task);
    else if (called)
      do_part(w);
    going = job || called || w->runner->lost; /* otherwise the engine closes */
    if (w->runner->lost) {
      close_runner(w);
      fail(&err, SAM3_ERR_DEVICE, "the worker of %s ended unexpectedly", w->device);
      pthread_mutex_lock(&engine->lock);
      going = failed(w, !job && !called, &err) && !engine->closing;
      pthread_mutex_unlock(&engine->lock);
    }
  }
  close_runner(w);
  return NULL;
}
