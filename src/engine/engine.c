/* Opening and closing the coordinator, and what it tells of itself. */
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/hello.h"

#define DEFAULT_QUEUE_REQUESTS 256
#define DEFAULT_QUEUE_BYTES ((uint64_t)1 << 30)
#define DEFAULT_CACHE_BYTES ((uint64_t)512 << 20)
#define MAX_WORKERS 256

/* ------------------------------------------------------------------------------------- deadlines */

static bool expired(struct sam3_job *job, double now, double *next) {
  if (job->timed_out || job->deadline > now) {
    if (!job->timed_out && job->deadline < *next)
      *next = job->deadline;
    return false;
  }
  return job->timed_out = true;
}

/* Marks what is over its deadline; returns a waiting job among it, taken out of the queue, and when to look again. */
static struct sam3_job *expire(sam3_engine *engine, double *next) {
  double now = clock_seconds();
  for (size_t i = 0; i < engine->n_workers; i++)
    if (engine->running[i])
      expired(engine->running[i], now, next); /* stops at its next stage */
  for (struct queued *at = engine->queue.first; at; at = at->next)
    if (expired(job_of(at), now, next)) {
      queue_remove(&engine->queue, at);
      return job_of(at);
    }
  return NULL;
}

static void *keeper_main(void *arg) {
  static const struct sam3_error late = {SAM3_ERR_CANCELLED, ""};
  sam3_engine *engine = arg;
  pthread_mutex_lock(&engine->lock);
  while (!engine->closing) {
    double next = clock_seconds() + 1;
    struct sam3_job *job = expire(engine, &next);
    if (job) {
      job_end(job, NULL, &late);
      pthread_mutex_unlock(&engine->lock);
      job_tell(job);
      job_release(job);
      pthread_mutex_lock(&engine->lock);
      continue;
    }
    struct timespec until = {.tv_sec = (time_t)next, .tv_nsec = (long)((next - floor(next)) * 1e9)};
    pthread_cond_timedwait(&engine->work, &engine->lock, &until);
  }
  pthread_mutex_unlock(&engine->lock);
  return NULL;
}

/* ------------------------------------------------------------------------------------ open, close */

static sam3_status start_thread(pthread_t *thread, bool *started, void *(*body)(void *), void *arg,
                                struct sam3_error *err) {
  int problem = pthread_create(thread, NULL, body, arg);
  if (problem)
    return fail(err, SAM3_ERR_MEMORY, "a thread could not be started: %s", strerror(problem));
  *started = true;
  return SAM3_OK;
}

static sam3_status copy_text(const char *text, char **copy, struct sam3_error *err) {
  *copy = text ? mem_strdup(text) : NULL;
  return text && !*copy ? fail_memory(err, strlen(text), text) : SAM3_OK;
}

/* A worker for each device, or for each rank of a launcher, the others of which say later what they compute on. */
static sam3_status take_devices(sam3_engine *engine, const struct sam3_engine_options *o, struct sam3_error *err) {
  static const char *const only_cpu[] = {"cpu"};
  const char *const *devices = o->n_devices ? o->devices : only_cpu;
  const bool launched = o->launch && o->launch->size > 1;
  size_t n = launched ? (size_t)o->launch->size : o->n_devices ? o->n_devices : 1;
  if (n > MAX_WORKERS)
    return fail(err, SAM3_ERR_LIMIT, "%zu devices: at most %d", n, MAX_WORKERS);
  if (launched && o->launch->rank != 0)
    return fail(err, SAM3_ERR_ARGUMENT, "rank %d has no engine: it serves rank 0", o->launch->rank);
  if (launched)
    TRY(launch_check(o, err));
  engine->workers = mem_zeroed(n, sizeof *engine->workers);
  engine->running = mem_zeroed(n, sizeof(struct sam3_job *));
  if (!engine->workers || !engine->running)
    return fail_memory(err, n * sizeof *engine->workers, "the workers");
  for (size_t i = 0; i < n; i++) {
    struct worker *w = &engine->workers[i];
    w->engine = engine;
    if (!launched && strlen(devices[i]) >= sizeof w->device)
      return fail(err, SAM3_ERR_DEVICE, "bad device name \"%.100s\"", devices[i]);
    if (!launched)
      strcpy(w->device, devices[i]);
    else if (i == 0)
      TRY(sam3_launch_device(o->launch, o->devices, o->n_devices, w->device, err));
    else
      w->rank = (int)i;
    strcpy(w->stats.device, w->device);
  }
  engine->n_workers = n;
  return SAM3_OK;
}

static sam3_status take_options(sam3_engine *engine, const char *model_path, const struct sam3_engine_options *o,
                                struct sam3_error *err) {
  TRY(take_devices(engine, o, err));
  TRY(copy_text(model_path, &engine->model_path, err));
  TRY(copy_text(o->worker, &engine->program, err));
  engine->parallel = o->parallel != SAM3_PARALLEL_AUTO ? o->parallel
                     : engine->n_workers > 1           ? SAM3_PARALLEL_PROCESSES
                                                       : SAM3_PARALLEL_THREADS;
  engine->schedule = o->launch && o->launch->size > 1 ? SAM3_SCHEDULE_REPLICATE : o->schedule;
  engine->queue_requests = o->queue_requests ? o->queue_requests : DEFAULT_QUEUE_REQUESTS;
  engine->queue_bytes = o->queue_bytes ? o->queue_bytes : DEFAULT_QUEUE_BYTES;
  engine->batch = o->batch;
  const bool splits = engine->n_workers > 1 && engine->schedule != SAM3_SCHEDULE_REPLICATE;
  engine->runner = (struct runner_options){.session.dtype = o->dtype,
                                           .cache_bytes = o->cache_bytes ? o->cache_bytes : DEFAULT_CACHE_BYTES,
                                           .ranks = splits ? (int)engine->n_workers : 0,
                                           .model_path = engine->model_path};
  return SAM3_OK;
}

/* Waits until every worker is ready, or one cannot be. */
static sam3_status wait_until_ready(sam3_engine *engine, struct sam3_error *err) {
  sam3_status status = SAM3_OK;
  pthread_mutex_lock(&engine->lock);
  for (size_t i = 0; i < engine->n_workers && status == SAM3_OK;) {
    if (engine->start_error.status != SAM3_OK)
      status = fail(err, engine->start_error.status, "%s", engine->start_error.message);
    else if (engine->workers[i].stats.state == SAM3_WORKER_STARTING)
      pthread_cond_wait(&engine->done, &engine->lock);
    else
      i++;
  }
  if (status == SAM3_OK && engine->start_error.status != SAM3_OK)
    status = fail(err, engine->start_error.status, "%s", engine->start_error.message);
  pthread_mutex_unlock(&engine->lock);
  return status;
}

static sam3_status start(sam3_engine *engine, const char *model_path, const struct sam3_engine_options *options,
                         struct sam3_error *err) {
  TRY(take_options(engine, model_path, options, err));
  if (engine->n_workers > 1 && engine->workers[1].rank)
    TRY(meeting_open(options->launch, &engine->meeting, err)); /* first, so that the others find it soon */
  TRY(sam3_model_open(model_path, &engine->model, err));
  engine->runner.description = sam3_model_describe(engine->model);
  if (engine->meeting)
    TRY(meeting_gather(engine->meeting, err));
  TRY(start_thread(&engine->keeper, &engine->has_keeper, keeper_main, engine, err));
  for (size_t i = 0; i < engine->n_workers; i++)
    TRY(start_thread(&engine->workers[i].thread, &engine->workers[i].has_thread, worker_main, &engine->workers[i],
                     err));
  return wait_until_ready(engine, err);
}

sam3_status sam3_engine_open(const char *model_path, const struct sam3_engine_options *options, sam3_engine **engine,
                             struct sam3_error *err) {
  static const struct sam3_engine_options none;
  sam3_engine *e = *engine = mem_zeroed(1, sizeof *e);
  if (!e)
    return fail_memory(err, sizeof *e, "an engine");
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&e->lock, NULL);
  pthread_cond_init(&e->work, &monotonic);
  pthread_cond_init(&e->done, &monotonic);
  pthread_condattr_destroy(&monotonic);
  sam3_status status = start(e, model_path, options ? options : &none, err);
  if (status != SAM3_OK) {
    sam3_engine_close(e);
    *engine = NULL;
  }
  return status;
}

void sam3_engine_close(sam3_engine *engine) {
  if (!engine)
    return;
  pthread_mutex_lock(&engine->lock);
  engine->closing = true;
  for (size_t i = 0; engine->running && i < engine->n_workers; i++)
    if (engine->running[i])
      engine->running[i]->cancelled = true;
  pthread_cond_broadcast(&engine->work);
  pthread_mutex_unlock(&engine->lock);
  if (engine->meeting)
    meeting_end(engine->meeting);
  for (size_t i = 0; i < engine->n_workers; i++) {
    if (engine->workers[i].has_thread)
      pthread_join(engine->workers[i].thread, NULL);
  }
  if (engine->has_keeper)
    pthread_join(engine->keeper, NULL);
  team_dissolve(engine);
  pthread_cond_destroy(&engine->work);
  pthread_cond_destroy(&engine->done);
  pthread_mutex_destroy(&engine->lock);
  meeting_close(engine->meeting);
  sam3_model_close(engine->model);
  free(engine->workers);
  free(engine->running);
  free(engine->model_path);
  free(engine->program);
  free(engine);
}

/* --------------------------------------------------------------------------------------- accounts */

const sam3_model *sam3_engine_model(const sam3_engine *engine) {
  return engine->model;
}

struct sam3_engine_stats sam3_engine_stats(sam3_engine *engine) {
  pthread_mutex_lock(&engine->lock);
  struct sam3_engine_stats stats = engine->stats;
  stats.parallel = engine->parallel;
  stats.schedule = engine->schedule;
  stats.n_workers = engine->n_workers;
  stats.queued = engine->queue.count;
  for (size_t i = 0; i < engine->n_workers; i++)
    stats.running += engine->running[i] != NULL;
  stats.queued_bytes = queue_image_bytes(engine, NULL);
  pthread_mutex_unlock(&engine->lock);
  return stats;
}

struct sam3_worker_stats sam3_engine_worker_stats(sam3_engine *engine, size_t index) {
  pthread_mutex_lock(&engine->lock);
  const struct worker *w = &engine->workers[index];
  struct sam3_worker_stats stats = w->stats;
  double now = clock_seconds();
  stats.busy += stats.state == SAM3_WORKER_BUSY ? now - w->busy_since : 0;
  stats.age = w->opened > 0 ? now - w->opened : 0;
  pthread_mutex_unlock(&engine->lock);
  return stats;
}
