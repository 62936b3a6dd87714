/* Jobs: what was asked of the engine, who waits for it, and what it answered. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "serve/server.h"

#define KEEP_SECONDS 300
#define TELL_SECONDS 3
#define KEEP_JOBS 1000
#define KEEP_BYTES ((size_t)256 << 20)

struct job *job_new(struct server *server) {
  struct job *job = mem_zeroed(1, sizeof *job);
  if (!job)
    return NULL;
  atomic_init(&job->references, 1);
  pthread_mutex_init(&job->lock, NULL);
  job->server = server;
  make_id(job->id);
  return job;
}

void job_free(struct job *job) {
  if (!job || atomic_fetch_sub(&job->references, 1) != 1)
    return;
  sam3_image_free(job->image);
  prompt_list_free(&job->prompts);
  free(job->text);
  pthread_mutex_destroy(&job->lock);
  free(job);
}

bool job_ended(const struct job *job) {
  return job->phase >= JOB_DONE;
}

/* ---- asking the engine ---- */

static void changed(void *job) {
  keeper_tell(((struct job *)job)->server->keeper, job);
}

sam3_status job_submit(struct job *job, struct sam3_error *err) {
  struct sam3_request request = {.image = job->image,
                                 .prompts = job->prompts.items,
                                 .n_prompts = job->prompts.count,
                                 .threshold = job->threshold,
                                 .client = job->client,
                                 .seconds = job->server->settings.request_seconds,
                                 .changed = changed,
                                 .user = job};
  atomic_fetch_add(&job->references, 1); /* the engine's */
  atomic_fetch_add(&job->server->active, 1);
  pthread_mutex_lock(&job->lock);
  sam3_status status = job->cancelled ? fail(err, SAM3_ERR_CANCELLED, "cancelled")
                                      : sam3_engine_submit(job->server->engine, &request, &job->handle, err);
  pthread_mutex_unlock(&job->lock);
  if (status != SAM3_OK) {
    atomic_fetch_sub(&job->server->active, 1);
    job_free(job);
  } else {
    keeper_tell(job->server->keeper, job); /* for its first state */
  }
  return status;
}

void job_cancel(struct job *job) {
  pthread_mutex_lock(&job->lock);
  job->cancelled = true;
  if (job->handle)
    sam3_job_cancel(job->handle);
  pthread_mutex_unlock(&job->lock);
}

/* ---- the answer ---- */

/* The document says what was sent, and what it was taken for. */
static char *add_translations(const struct job *job, char *text) {
  bool any = false;
  for (size_t i = 0; i < job->prompts.count; i++)
    any |= job->prompts.sent[i] != NULL;
  if (!any || !text)
    return text;
  json_t *document = json_loads(text, 0, NULL);
  free(text);
  for (size_t i = 0; i < job->prompts.count; i++)
    if (job->prompts.sent[i]) {
      json_t *result = json_array_get(json_object_get(document, "results"), i);
      json_object_set_new(json_object_get(result, "prompt"), "translated", json_string(job->prompts.items[i].text));
    }
  text = json_dumps(document, JSON_REAL_PRECISION(9));
  json_decref(document);
  return text;
}

/* Puts `more` before the final brace of a JSON object. */
static char *extend(char *text, const char *more) {
  char *brace = text ? strrchr(text, '}') : NULL;
  size_t size = brace ? (size_t)(brace - text) : 0;
  char *longer = brace ? mem_resize(text, size + strlen(more) + 4, 1) : NULL;
  if (!longer) {
    free(text);
    return NULL;
  }
  sprintf(longer + size, ", %s}", more);
  return longer;
}

static char *result_text(const struct job *job, struct sam3_results *results, const struct sam3_job_state *state,
                         struct sam3_error *err) {
  for (size_t i = 0; i < results->n_items && i < job->prompts.count; i++)
    if (job->prompts.sent[i]) {
      char *sent = mem_strdup(job->prompts.sent[i]);
      if (sent) {
        free(results->items[i].text);
        results->items[i].text = sent;
      }
    }
  char *text;
  if (sam3_results_format(results, SAM3_FORMAT_JSON, sam3_model_name(sam3_engine_model(job->server->engine)), job->name,
                          &text, err) != SAM3_OK)
    return NULL;
  char timing[256];
  snprintf(timing, sizeof timing,
           "\"timing\": {\"queued_ms\": %.3f, \"running_ms\": %.3f, \"device\": \"%s\", \"encoded\": %s}",
           1e3 * state->queued, 1e3 * state->running, state->device, state->encoded ? "true" : "false");
  text = extend(add_translations(job, text), timing);
  if (!text)
    fail_memory(err, 0, "the answer");
  return text;
}

/* Tells those who wait; the lock is held. */
static void notify(struct job *job) {
  for (struct request **at = &job->listeners; *at;) {
    struct request *request = *at;
    if (request->stream) {
      request_resume(request);
      at = &request->next_listener;
    } else if (job_ended(job)) {
      *at = request->next_listener;
      respond_job(request, job);
    } else {
      at = &request->next_listener;
    }
  }
}

/* On the pool: takes the answer from the engine. */
static void finish(void *user) {
  struct job *job = user;
  struct sam3_results *results = NULL;
  struct sam3_error err = {0};
  sam3_job *handle = job->handle; /* nobody else changes it any more */
  struct sam3_job_state state = sam3_job_state(handle);
  sam3_status status = sam3_job_wait(handle, &results, &err);
  char *text = status == SAM3_OK ? result_text(job, results, &state, &err) : NULL;
  sam3_results_free(results);
  enum problem problem = text ? PROBLEM_NONE : problem_of(err.status);
  if (!text)
    text = problem_text(problem, err.message);

  pthread_mutex_lock(&job->lock);
  job->handle = NULL;
  job->state = state;
  job->text = text;
  job->size = text ? strlen(text) : 0;
  job->problem = problem;
  job->ended = now_seconds();
  job->phase = problem == PROBLEM_NONE ? JOB_DONE : status == SAM3_ERR_CANCELLED ? JOB_CANCELLED : JOB_FAILED;
  sam3_image_free(job->image);
  job->image = NULL;
  notify(job);
  pthread_mutex_unlock(&job->lock);
  sam3_job_free(handle);
  atomic_fetch_sub(&job->server->active, 1);
  job_free(job); /* the engine's */
}

void job_update(struct job *job) {
  pthread_mutex_lock(&job->lock);
  bool ended = false;
  if (job->handle && !job->finishing) {
    job->state = sam3_job_state(job->handle);
    job->finishing = ended = job->state.phase == SAM3_DONE;
    if (!ended) {
      job->phase = job->state.phase == SAM3_RUNNING ? JOB_RUNNING : JOB_QUEUED;
      notify(job);
    }
  }
  pthread_mutex_unlock(&job->lock);
  if (ended && !pool_add(job->server->pool, true, finish, job))
    finish(job); /* no memory for a task */
}

char *job_describe(struct job *job) {
  static const char *const names[] = {"queued", "running", "done", "failed", "cancelled"};
  pthread_mutex_lock(&job->lock);
  const struct sam3_job_state *s = &job->state;
  json_t *json = json_pack("{s:s}", "state", names[job->phase]);
  if (job->phase == JOB_QUEUED)
    json_object_set_new(json, "position", json_integer((json_int_t)s->position));
  if (job->phase == JOB_RUNNING) {
    json_object_set_new(json, "stage", json_string(s->stage ? s->stage : ""));
    json_object_set_new(json, "fraction", json_real(s->fraction));
  }
  char *text = json_dumps(json, JSON_REAL_PRECISION(9));
  json_decref(json);
  job->told |= job_ended(job);
  if (job_ended(job) && job->phase != JOB_CANCELLED && job->text && text) {
    char *more = NULL;
    if (asprintf(&more, "\"%s\": %s", job->phase == JOB_DONE ? "result" : "problem", job->text) < 0)
      more = NULL;
    text = more ? extend(text, more) : (free(text), NULL);
    free(more);
  }
  pthread_mutex_unlock(&job->lock);
  return text;
}

/* ---- those kept by their id, the newest first ---- */

void jobs_keep(struct job *job) {
  atomic_fetch_add(&job->references, 1);
  pthread_mutex_lock(&job->server->jobs_lock);
  job->next = job->server->jobs;
  job->server->jobs = job;
  pthread_mutex_unlock(&job->server->jobs_lock);
}

struct job *jobs_find(struct server *server, const char *id) {
  pthread_mutex_lock(&server->jobs_lock);
  struct job *job = server->jobs;
  while (job && strcmp(job->id, id) != 0)
    job = job->next;
  if (job)
    atomic_fetch_add(&job->references, 1);
  pthread_mutex_unlock(&server->jobs_lock);
  return job;
}

/* Lets go of the jobs for which `old` is true. */
static void sweep(struct server *server, bool (*old)(struct job *job, void *user), void *user) {
  struct job *dropped = NULL;
  pthread_mutex_lock(&server->jobs_lock);
  for (struct job **at = &server->jobs; *at;) {
    struct job *job = *at;
    if (old(job, user)) {
      *at = job->next;
      job->next = dropped;
      dropped = job;
    } else {
      at = &job->next;
    }
  }
  pthread_mutex_unlock(&server->jobs_lock);
  while (dropped) {
    struct job *next = dropped->next;
    job_free(dropped);
    dropped = next;
  }
}

static bool has_id(struct job *job, void *id) {
  return strcmp(job->id, id) == 0;
}

void jobs_forget(struct server *server, const char *id) {
  sweep(server, has_id, (void *)id);
}

struct kept {
  double now;
  size_t jobs, bytes;
};

static bool expired(struct job *job, void *user) {
  struct kept *kept = user;
  pthread_mutex_lock(&job->lock);
  bool ended = job_ended(job);
  kept->jobs++;
  kept->bytes += job->size;
  bool old = ended && (kept->now - job->ended > KEEP_SECONDS || kept->jobs > KEEP_JOBS || kept->bytes > KEEP_BYTES);
  if (old) {
    kept->jobs--;
    kept->bytes -= job->size;
  }
  pthread_mutex_unlock(&job->lock);
  return old;
}

void jobs_expire(struct server *server, double now) {
  sweep(server, expired, &(struct kept){.now = now});
}

static bool find_untold(struct job *job, void *any) {
  pthread_mutex_lock(&job->lock);
  *(bool *)any |=
      (job->phase == JOB_DONE || job->phase == JOB_FAILED) && !job->told && now_seconds() - job->ended < TELL_SECONDS;
  pthread_mutex_unlock(&job->lock);
  return false;
}

bool jobs_untold(struct server *server) {
  bool any = false;
  sweep(server, find_untold, &any);
  return any;
}

static bool cancel(struct job *job, void *user) {
  (void)user;
  job_cancel(job);
  return false;
}

void jobs_cancel(struct server *server) {
  sweep(server, cancel, NULL);
}

static bool every(struct job *job, void *user) {
  (void)job, (void)user;
  return true;
}

void jobs_close(struct server *server) {
  sweep(server, every, NULL);
}
