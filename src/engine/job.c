/* A request from its submission to the caller's last look at it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "image/image.h"

/* FNV-1a of the client's name; 0 for none. */
static uint64_t client_id(const char *name) {
  uint64_t hash = name ? 0xcbf29ce484222325u : 0;
  for (; name && *name; name++)
    hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
  return hash;
}

static uint64_t image_bytes(const sam3_image *image) {
  return (uint64_t)image->width * (uint64_t)image->height * 3;
}

struct sam3_job *job_of(const struct queued *item) {
  return (struct sam3_job *)((char *)item - offsetof(struct sam3_job, queued));
}

uint64_t queue_image_bytes(const struct sam3_engine *engine, const sam3_image *image) {
  uint64_t bytes = image ? image_bytes(image) : 0;
  for (const struct queued *at = engine->queue.first; at; at = at->next) {
    const sam3_image *own = job_of(at)->image;
    bool counted = own == image;
    for (const struct queued *other = engine->queue.first; other != at && !counted; other = other->next)
      counted = job_of(other)->image == own;
    bytes += counted ? 0 : image_bytes(own);
  }
  return bytes;
}

void job_hold(struct sam3_job *job) {
  job->references++;
}

void job_release(struct sam3_job *job) {
  pthread_mutex_lock(&job->engine->lock);
  bool last = --job->references == 0;
  pthread_mutex_unlock(&job->engine->lock);
  if (!last)
    return;
  pthread_mutex_destroy(&job->calling);
  prompts_free(job->prompts, job->n_prompts);
  sam3_image_free(job->image);
  sam3_results_free(job->results);
  free(job);
}

void job_tell(struct sam3_job *job) {
  pthread_mutex_lock(&job->calling);
  if (job->changed)
    job->changed(job->user);
  pthread_mutex_unlock(&job->calling);
}

void job_end(struct sam3_job *job, struct sam3_results *results, const struct sam3_error *error) {
  struct sam3_engine_stats *stats = &job->engine->stats;
  job->phase = SAM3_DONE;
  job->ended = clock_seconds();
  job->results = results;
  if (error) {
    job->error = *error;
    if (job->timed_out && error->status == SAM3_ERR_CANCELLED)
      fail(&job->error, SAM3_ERR_TIMEOUT, "not done within the request's %.3g s", job->deadline - job->submitted);
    bool cancelled = job->error.status == SAM3_ERR_CANCELLED;
    stats->cancelled += cancelled;
    stats->failed += !cancelled;
  } else {
    stats->done++;
  }
  pthread_cond_broadcast(&job->engine->done);
}

static sam3_status create(sam3_engine *engine, const struct sam3_request *request, struct sam3_job **job,
                          struct sam3_error *err) {
  struct sam3_job *j = mem_zeroed(1, sizeof *j);
  struct sam3_prompt *prompts = prompts_copy(request->prompts, request->n_prompts);
  if (!j || !prompts) {
    free(j);
    prompts_free(prompts, request->n_prompts);
    return fail_memory(err, sizeof *j, "a request");
  }
  j->engine = engine;
  j->prompts = prompts;
  j->n_prompts = request->n_prompts;
  j->threshold = request->threshold;
  j->client = client_id(request->client);
  j->changed = request->changed;
  j->user = request->user;
  j->submitted = clock_seconds();
  j->deadline = request->seconds > 0 ? j->submitted + request->seconds : INFINITY;
  j->stage = "queued";
  j->image = sam3_image_share(request->image);
  pthread_mutex_init(&j->calling, NULL);
  *job = j;
  return SAM3_OK;
}

/* Puts the job into the queue if it may come in; the lock is held. */
static sam3_status enter(sam3_engine *engine, struct sam3_job *job, bool background, struct sam3_error *err) {
  if (!workers_left(engine))
    return fail(err, SAM3_ERR_DEVICE, "no worker is left: all have failed");
  uint64_t bytes = queue_image_bytes(engine, job->image);
  bool full = engine->queue.count >= engine->queue_requests;
  if (full || (engine->queue.count && bytes > engine->queue_bytes)) {
    engine->stats.rejected++;
    return full ? fail(err, SAM3_ERR_BUSY, "the queue is full: %zu requests wait", engine->queue.count)
                : fail(err, SAM3_ERR_BUSY, "the queue is full: images of %llu MB would wait",
                       (unsigned long long)(bytes >> 20));
  }
  queue_add(&engine->queue, &job->queued, job->client, background);
  engine->stats.accepted++;
  pthread_cond_broadcast(&engine->work);
  return SAM3_OK;
}

sam3_status sam3_engine_submit(sam3_engine *engine, const struct sam3_request *request, sam3_job **job,
                               struct sam3_error *err) {
  *job = NULL;
  if (!request->image)
    return fail(err, SAM3_ERR_ARGUMENT, "a request without an image");
  if (!(request->seconds >= 0))
    return fail(err, SAM3_ERR_ARGUMENT, "a request limited to %g seconds", request->seconds);
  TRY(prompts_check(request->prompts, request->n_prompts, request->threshold, request->image->width,
                    request->image->height, err));
  struct sam3_job *j = NULL;
  TRY(create(engine, request, &j, err));
  pthread_mutex_lock(&engine->lock);
  sam3_status status = enter(engine, j, request->background, err);
  j->references = status == SAM3_OK ? 2 : 1;
  pthread_mutex_unlock(&engine->lock);
  if (status != SAM3_OK)
    job_release(j);
  else
    *job = j;
  return status;
}

struct sam3_job_state sam3_job_state(sam3_job *job) {
  pthread_mutex_lock(&job->engine->lock);
  double now = clock_seconds();
  struct sam3_job_state state = {.phase = job->phase,
                                 .status = job->error.status,
                                 .stage = job->stage,
                                 .fraction = job->fraction,
                                 .encoded = job->encoded};
  if (job->phase == SAM3_QUEUED)
    state.position = queue_position(&job->engine->queue, &job->queued);
  state.queued = (job->started > 0 ? job->started : job->phase == SAM3_DONE ? job->ended : now) - job->submitted;
  state.running = job->started > 0 ? (job->phase == SAM3_DONE ? job->ended : now) - job->started : 0;
  memcpy(state.device, job->device, sizeof state.device);
  pthread_mutex_unlock(&job->engine->lock);
  return state;
}

sam3_status sam3_job_wait(sam3_job *job, struct sam3_results **results, struct sam3_error *err) {
  sam3_engine *engine = job->engine;
  *results = NULL;
  pthread_mutex_lock(&engine->lock);
  while (job->phase != SAM3_DONE)
    pthread_cond_wait(&engine->done, &engine->lock);
  *results = job->results;
  job->results = NULL;
  pthread_mutex_unlock(&engine->lock);
  if (job->error.status != SAM3_OK)
    return fail(err, job->error.status, "%s", job->error.message);
  return *results ? SAM3_OK : fail(err, SAM3_ERR_ARGUMENT, "the job's results have been taken before");
}

void sam3_job_cancel(sam3_job *job) {
  static const struct sam3_error cancelled = {SAM3_ERR_CANCELLED, "cancelled before it began"};
  sam3_engine *engine = job->engine;
  pthread_mutex_lock(&engine->lock);
  job->cancelled = true;
  bool taken = job->phase == SAM3_QUEUED && queue_remove(&engine->queue, &job->queued);
  if (taken)
    job_end(job, NULL, &cancelled);
  pthread_mutex_unlock(&engine->lock);
  if (!taken)
    return;
  job_tell(job);
  job_release(job);
  engine_tell_waiting(engine);
}

void sam3_job_free(sam3_job *job) {
  if (!job)
    return;
  pthread_mutex_lock(&job->calling);
  job->changed = NULL;
  pthread_mutex_unlock(&job->calling);
  sam3_job_cancel(job);
  job_release(job);
}

void engine_tell_waiting(sam3_engine *engine) {
  struct sam3_job *waiting[64]; /* those further back learn of it later */
  size_t n = 0;
  pthread_mutex_lock(&engine->lock);
  for (struct queued *at = engine->queue.first; at && n < sizeof waiting / sizeof *waiting; at = at->next) {
    waiting[n] = job_of(at);
    job_hold(waiting[n++]);
  }
  pthread_mutex_unlock(&engine->lock);
  for (size_t i = 0; i < n; i++) {
    job_tell(waiting[i]);
    job_release(waiting[i]);
  }
}
