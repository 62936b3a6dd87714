/* Answers: documents, problems and the headers that all carry. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "serve/server.h"

static const struct {
  unsigned status;
  const char *name, *title;
} problems[] = {
    [PROBLEM_BAD_REQUEST] = {400, "bad-request", "The request is malformed"},
    [PROBLEM_UNAUTHORIZED] = {401, "unauthorized", "An API key is needed"},
    [PROBLEM_FORBIDDEN] = {403, "forbidden", "Pages of this origin may not do this"},
    [PROBLEM_NOT_FOUND] = {404, "not-found", "There is nothing here"},
    [PROBLEM_METHOD] = {405, "method-not-allowed", "The method does not apply here"},
    [PROBLEM_TIMEOUT] = {408, "timeout", "It took too long"},
    [PROBLEM_TOO_LARGE] = {413, "too-large", "The request is over a limit"},
    [PROBLEM_MEDIA] = {415, "unsupported-media", "The media type is not supported"},
    [PROBLEM_MISDIRECTED] = {421, "misdirected", "This is not the server of that name"},
    [PROBLEM_UNPROCESSABLE] = {422, "unprocessable", "The request cannot be done as it is"},
    [PROBLEM_UNTRANSLATABLE] = {422, "untranslatable", "The phrase cannot be translated"},
    [PROBLEM_QUEUE_FULL] = {429, "queue-full", "Too many requests wait"},
    [PROBLEM_UNAVAILABLE] = {503, "unavailable", "The server cannot do this now"},
    [PROBLEM_INTERNAL] = {500, "internal", "The server failed"},
};

unsigned problem_status(enum problem problem) {
  return problems[problem].status;
}

char *problem_text(enum problem problem, const char *detail) {
  char type[64];
  snprintf(type, sizeof type, "/problems/%s", problems[problem].name);
  json_t *json = json_pack("{s:s, s:s, s:i, s:o}", "type", type, "title", problems[problem].title, "status",
                           (int)problems[problem].status, "detail", json_text(detail));
  char *text = json_dumps(json, 0);
  json_decref(json);
  return text;
}

enum problem problem_of(sam3_status status) {
  switch (status) {
  case SAM3_OK:
    return PROBLEM_NONE;
  case SAM3_ERR_ARGUMENT:
  case SAM3_ERR_FORMAT:
  case SAM3_ERR_UNSUPPORTED:
  case SAM3_ERR_LIMIT:
    return PROBLEM_UNPROCESSABLE;
  case SAM3_ERR_BUSY:
    return PROBLEM_QUEUE_FULL;
  case SAM3_ERR_TIMEOUT:
    return PROBLEM_TIMEOUT;
  case SAM3_ERR_CANCELLED:
  case SAM3_ERR_DEVICE:
  case SAM3_ERR_MEMORY:
    return PROBLEM_UNAVAILABLE;
  case SAM3_ERR_IO:
    break;
  }
  return PROBLEM_INTERNAL;
}

void add_headers(const struct request *request, struct MHD_Response *response) {
  static const char *const all[][2] = {
      {"Content-Security-Policy", "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
                                  "form-action 'self'; frame-ancestors 'none'"},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Permissions-Policy", "camera=(self), microphone=(), geolocation=()"},
      {"X-Frame-Options", "DENY"},
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    MHD_add_response_header(response, all[i][0], all[i][1]);
  const char *origin = request->origin; /* the connection may be gone */
  if (request->server->settings.cors_origins.count)
    MHD_add_response_header(response, "Vary", "Origin");
  if (*origin && origin_in(&request->server->settings.cors_origins, origin)) {
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
    if (strcmp(request->method, "OPTIONS") == 0) {
      MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, DELETE");
      MHD_add_response_header(response, "Access-Control-Allow-Headers",
                              "Authorization, Content-Type, Prefer, X-API-Key");
      MHD_add_response_header(response, "Access-Control-Max-Age", "600");
    }
  }
}

static void send_text(struct request *request, unsigned status, const char *type, struct MHD_Response *response,
                      unsigned retry) {
  if (response) {
    char seconds[12];
    MHD_add_response_header(response, "Content-Type", type);
    if (retry) {
      snprintf(seconds, sizeof seconds, "%u", retry);
      MHD_add_response_header(response, "Retry-After", seconds);
    }
    if (status == 405)
      MHD_add_response_header(response, "Allow", request->allow);
    if (status == 401)
      MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (!strncmp(request->path, "/v1/", 4))
      MHD_add_response_header(response, "Cache-Control", "no-store");
    add_headers(request, response);
  }
  request_answer(request, status, response);
}

void respond_text(struct request *request, unsigned status, const char *type, char *text) {
  struct MHD_Response *response =
      text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
  send_text(request, status, type, response, 0);
}

void respond_json(struct request *request, unsigned status, json_t *value) {
  char *text = json_dumps(value, JSON_REAL_PRECISION(9));
  json_decref(value);
  respond_text(request, status, "application/json", text);
}

void respond_empty(struct request *request, unsigned status) {
  struct MHD_Response *response = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
  if (response)
    add_headers(request, response);
  request_answer(request, status, response);
}

static unsigned retry_after(enum problem problem) {
  return problem == PROBLEM_QUEUE_FULL ? 1 : problem == PROBLEM_UNAVAILABLE ? 5 : 0;
}

void respond_problem(struct request *request, enum problem problem, const char *format, ...) {
  char detail[600];
  va_list args;
  va_start(args, format);
  vsnprintf(detail, sizeof detail, format, args);
  va_end(args);
  char *text = problem_text(problem, detail);
  struct MHD_Response *response =
      text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
  send_text(request, problem_status(problem), "application/problem+json", response, retry_after(problem));
}

void respond_error(struct request *request, const struct sam3_error *err) {
  respond_problem(request, problem_of(err->status), "%s", err->message);
}

static void free_job(void *job) {
  job_free(job);
}

void respond_job(struct request *request, struct job *job) {
  if (!job->text) {
    respond_problem(request, PROBLEM_INTERNAL, "no memory for the answer");
    return;
  }
  atomic_fetch_add(&job->references, 1);
  struct MHD_Response *response =
      MHD_create_response_from_buffer_with_free_callback_cls(job->size, job->text, free_job, job);
  if (!response)
    job_free(job);
  bool good = job->problem == PROBLEM_NONE;
  send_text(request, good ? 200 : problem_status(job->problem), good ? "application/json" : "application/problem+json",
            response, retry_after(job->problem));
}
