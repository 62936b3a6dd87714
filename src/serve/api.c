/* The endpoints that do the work, and the table of all. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "serve/server.h"

/* ---- small answers ---- */

static void get_health(struct request *request) {
  respond_text(request, 200, "text/plain; charset=utf-8", mem_strdup("ok\n"));
}

static void get_ready(struct request *request) {
  sam3_engine *engine = atomic_load(&request->server->engine);
  size_t n = engine ? sam3_engine_stats(engine).n_workers : 0, able = 0;
  for (size_t i = 0; i < n; i++) {
    enum sam3_worker_state state = sam3_engine_worker_stats(engine, i).state;
    able += state == SAM3_WORKER_IDLE || state == SAM3_WORKER_BUSY;
  }
  if (atomic_load(&request->server->draining))
    respond_problem(request, PROBLEM_UNAVAILABLE, "the server is about to end");
  else if (!able)
    respond_problem(request, PROBLEM_UNAVAILABLE, engine ? "no worker is ready" : "the model is still being loaded");
  else
    respond_text(request, 200, "text/plain; charset=utf-8", mem_strdup("ready\n"));
}

static void get_model(struct request *request) {
  respond_text(request, 200, "application/json", mem_strdup(request->server->model_json));
}

/* ---- images ---- */

static bool known_image(const struct part *image) {
  const char *b = image->bytes;
  return image->size >= 12 && (!memcmp(b, "\xff\xd8\xff", 3) || !memcmp(b, "\x89PNG", 4) ||
                               (!memcmp(b, "RIFF", 4) && !memcmp(b + 8, "WEBP", 4)));
}

/* Decodes it; false after answering. */
static bool add_image(struct request *request, const struct part *bytes, char id[ID_SIZE], sam3_image **image) {
  struct sam3_error err;
  if (!bytes->size)
    respond_problem(request, PROBLEM_UNPROCESSABLE, "there is no image in the request");
  else if (images_add(request->server->images, bytes->bytes, bytes->size, id, image, &err) == SAM3_OK)
    return true;
  else if (err.status == SAM3_ERR_FORMAT && !known_image(bytes))
    respond_problem(request, PROBLEM_MEDIA, "%s", err.message);
  else if (err.status == SAM3_ERR_LIMIT)
    respond_problem(request, PROBLEM_TOO_LARGE, "%s", err.message);
  else
    respond_error(request, &err);
  return false;
}

static void respond_image(struct request *request, unsigned status, const char *id, const sam3_image *image) {
  respond_json(
      request, status,
      json_pack("{s:s, s:i, s:i}", "id", id, "width", sam3_image_width(image), "height", sam3_image_height(image)));
}

void post_image(struct request *request) {
  char id[ID_SIZE];
  sam3_image *image;
  if (!add_image(request, request->kind == BODY_RAW ? &request->body : &request->image, id, &image))
    return;
  respond_image(request, 201, id, image);
  sam3_image_free(image);
}

/* The image of the path; NULL after answering. */
static sam3_image *find_image(struct request *request) {
  sam3_image *image = images_find(request->server->images, request->id);
  if (!image)
    respond_problem(request, PROBLEM_NOT_FOUND, "no image %s; images are dropped when there is no room: send it again",
                    request->id);
  return image;
}

static void get_image(struct request *request) {
  sam3_image *image = find_image(request);
  if (image)
    respond_image(request, 200, request->id, image);
  sam3_image_free(image);
}

static void delete_image(struct request *request) {
  if (images_remove(request->server->images, request->id))
    respond_empty(request, 204);
  else
    respond_problem(request, PROBLEM_NOT_FOUND, "no image %s", request->id);
}

/* ---- segmenting ---- */

/* The value of a base64 character, or -1. */
static int base64_value(char c) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)(at - digits) : -1;
}

static sam3_status decode_base64(const char *text, struct part *out, struct sam3_error *err) {
  static const char name[] = "image: not base64";
  size_t size = strlen(text), padding = 0;
  while (padding < 2 && size && text[size - 1] == '=')
    size--, padding++;
  if (size % 4 == 1 || (padding && (size + padding) % 4))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: %zu characters", name, size + padding);
  *out = (struct part){.bytes = mem_alloc(size * 3 / 4 + 1), .size = size * 3 / 4};
  if (!out->bytes)
    return fail_memory(err, out->size, "an image");
  uint32_t bits = 0;
  char *to = out->bytes;
  for (size_t i = 0; i < size; i++) {
    int value = base64_value(text[i]);
    if (value < 0) {
      free(out->bytes);
      out->bytes = NULL;
      return fail(err, SAM3_ERR_ARGUMENT, "%s: character %zu", name, i);
    }
    bits = bits << 6 | (uint32_t)value;
    if (i % 4)
      *to++ = (char)(bits >> (6 - 2 * (i % 4)));
  }
  return SAM3_OK;
}

/* Everything that a segment request says. */
struct question {
  json_t *json; /* of the body, or of the form's field */
  struct part image;
  bool owns_image;
  struct prompt_list prompts;
  float threshold;
};

static void question_free(struct question *q) {
  json_decref(q->json);
  if (q->owns_image)
    free(q->image.bytes);
  prompt_list_free(&q->prompts);
}

static sam3_status read_threshold(const json_t *json, float *threshold, struct sam3_error *err) {
  double value = json_number_value(json);
  if (!json_is_number(json) || !(value >= 0 && value <= 1))
    return fail(err, SAM3_ERR_ARGUMENT, "threshold: not a number from 0 to 1");
  *threshold = (float)value;
  return SAM3_OK;
}

static sam3_status read_prompts(const struct request *request, const json_t *json, struct prompt_list *prompts,
                                struct sam3_error *err) {
  TRY(prompts_from_json(json, "prompts", request->server->settings.max_prompts, prompts, err));
  return prompts_translate(prompts, err);
}

/* A JSON body; `with_image` as base64. */
static sam3_status read_json(struct request *request, struct question *q, bool with_image, struct sam3_error *err) {
  const char *key;
  json_t *value, *prompts = NULL;
  if (json_parse(request->body.bytes ? request->body.bytes : "", request->body.size, "the body", &q->json, err) !=
      SAM3_OK)
    return err->status;
  if (!json_is_object(q->json))
    return fail(err, SAM3_ERR_ARGUMENT, "the body: not a JSON object");
  json_object_foreach(q->json, key, value) {
    if (with_image && !strcmp(key, "image")) {
      if (!json_is_string(value))
        return fail(err, SAM3_ERR_ARGUMENT, "image: not a base64 string");
      TRY(decode_base64(json_string_value(value), &q->image, err));
      q->owns_image = true;
    } else if (!strcmp(key, "prompts")) {
      prompts = value;
    } else if (!strcmp(key, "threshold")) {
      TRY(read_threshold(value, &q->threshold, err));
    } else {
      return fail(err, SAM3_ERR_ARGUMENT, "the body: unknown key \"%.60s\"", key);
    }
  }
  return read_prompts(request, prompts, &q->prompts, err);
}

static sam3_status read_form(struct request *request, struct question *q, struct sam3_error *err) {
  q->image = request->image;
  if (request->threshold.size) {
    json_t *number = json_loadb(request->threshold.bytes, request->threshold.size, JSON_DECODE_ANY, NULL);
    sam3_status status = read_threshold(number, &q->threshold, err);
    json_decref(number);
    TRY(status);
  }
  if (!request->prompts.size)
    return fail(err, SAM3_ERR_ARGUMENT, "prompts: the form has no such field");
  TRY(json_parse(request->prompts.bytes, request->prompts.size, "prompts", &q->json, err));
  return read_prompts(request, q->json, &q->prompts, err);
}

/* False after answering. */
static bool read_question(struct request *request, struct question *q, bool with_image) {
  struct sam3_error err;
  *q = (struct question){.threshold = default_threshold(request->server)};
  sam3_status status =
      request->kind == BODY_MULTIPART ? read_form(request, q, &err) : read_json(request, q, with_image, &err);
  if (status == SAM3_ERR_FORMAT)
    respond_problem(request, PROBLEM_BAD_REQUEST, "%s", err.message);
  else if (status == SAM3_ERR_UNSUPPORTED) /* only the translation says that */
    respond_problem(request, PROBLEM_UNTRANSLATABLE, "%s", err.message);
  else if (status != SAM3_OK)
    respond_error(request, &err);
  return status == SAM3_OK;
}

static void respond_accepted(struct request *request, const struct job *job) {
  char url[64], events[72];
  snprintf(url, sizeof url, "/v1/jobs/%s", job->id);
  snprintf(events, sizeof events, "%s/events", url);
  respond_json(request, 202, json_pack("{s:s, s:s, s:s}", "job", job->id, "events", events, "url", url));
}

/* Asks the engine; the answer comes when the job ends, or now when it may be fetched later. Takes the image and the
 * prompts. */
static void ask(struct request *request, struct question *q, sam3_image *image, const char *name) {
  struct sam3_error err;
  struct job *job = job_new(request->server);
  if (!job) {
    sam3_image_free(image);
    respond_problem(request, PROBLEM_UNAVAILABLE, "no memory for the request");
    return;
  }
  job->image = image;
  job->prompts = q->prompts;
  q->prompts = (struct prompt_list){0};
  job->threshold = q->threshold;
  snprintf(job->client, sizeof job->client, "%s", request->client);
  snprintf(job->name, sizeof job->name, "%s", name);
  bool later = request->async;
  if (later ? request_left(request) : !request_listen(request, job)) {
    job_free(job);
    return;
  }
  if (job_submit(job, &err) != SAM3_OK) {
    respond_error(request, &err);
  } else if (later) {
    jobs_keep(job);
    respond_accepted(request, job);
  }
  job_free(job);
}

/* Before anything is decoded: is there room? False after answering. */
static bool has_room(struct request *request) {
  struct sam3_engine_stats stats = sam3_engine_stats(request->server->engine);
  if (stats.queued + pool_waiting(request->server->pool) < request->server->settings.queue_requests + stats.n_workers)
    return true;
  respond_problem(request, PROBLEM_QUEUE_FULL, "%zu requests wait, more than queue_requests allows", stats.queued);
  return false;
}

void post_segment(struct request *request) {
  struct question q;
  if (!has_room(request))
    return;
  if (read_question(request, &q, true)) {
    char id[ID_SIZE];
    sam3_image *image;
    if (add_image(request, &q.image, id, &image))
      ask(request, &q, image, *request->filename ? request->filename : "image");
  }
  question_free(&q);
}

void post_image_segment(struct request *request) {
  struct question q;
  if (!has_room(request))
    return;
  sam3_image *image = find_image(request);
  if (!image)
    return;
  if (read_question(request, &q, false)) {
    ask(request, &q, image, request->id);
    image = NULL;
  }
  sam3_image_free(image);
  question_free(&q);
}

/* ---- jobs ---- */

static void no_job(struct request *request) {
  respond_problem(request, PROBLEM_NOT_FOUND, "no job %s; a finished job is kept for 5 minutes", request->id);
}

static void get_job(struct request *request) {
  struct job *job = jobs_find(request->server, request->id);
  if (job)
    respond_text(request, 200, "application/json", job_describe(job));
  else
    no_job(request);
  job_free(job);
}

/* Cancels it, or lets go of its answer. */
static void delete_job(struct request *request) {
  struct job *job = jobs_find(request->server, request->id);
  if (!job) {
    no_job(request);
    return;
  }
  pthread_mutex_lock(&job->lock);
  bool ended = job_ended(job);
  pthread_mutex_unlock(&job->lock);
  if (ended)
    jobs_forget(request->server, request->id);
  else
    job_cancel(job);
  respond_empty(request, 204);
  job_free(job);
}

const struct route routes[] = {
    {"POST", "/v1/segment", post_segment, NEEDS_BODY | NEEDS_KEY | NEEDS_ENGINE | DEFERRED},
    {"POST", "/v1/images", post_image, NEEDS_BODY | NEEDS_KEY | DEFERRED | OPTIONAL_RAW},
    {"GET", "/v1/images/{id}", get_image, NEEDS_KEY},
    {"DELETE", "/v1/images/{id}", delete_image, NEEDS_KEY},
    {"POST", "/v1/images/{id}/segment", post_image_segment, NEEDS_BODY | NEEDS_KEY | NEEDS_ENGINE | DEFERRED},
    {"GET", "/v1/jobs/{id}", get_job, NEEDS_KEY},
    {"DELETE", "/v1/jobs/{id}", delete_job, NEEDS_KEY},
    {"GET", "/v1/jobs/{id}/events", get_job_events, NEEDS_KEY},
    {"GET", "/v1/model", get_model, NEEDS_KEY | NEEDS_ENGINE},
    {"GET", "/v1/devices", get_devices, NEEDS_KEY | NEEDS_ENGINE},
    {"GET", "/v1/samples", get_samples, NEEDS_KEY},
    {"GET", "/samples/*", get_sample, DEFERRED},
    {"GET", "/healthz", get_health},
    {"GET", "/readyz", get_ready},
    {"GET", "/metrics", get_metrics},
    {"GET", "/openapi.json", get_openapi},
    {"GET", "/", get_page},
    {"GET", "/favicon.ico", get_page},
    {"GET", "/web/*", get_page},
};
const size_t n_routes = sizeof routes / sizeof *routes;
