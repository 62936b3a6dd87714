/* Requests, from the first byte to the last: libmicrohttpd's callbacks, all on its one thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "serve/server.h"

#define CONNECTION_MEMORY 32768 /* for headers and buffers */
#define DISCARD_FACTOR 4        /* bodies up to this many times the limit are read, so that the client hears why */

/* ---- life ---- */

void request_share(struct request *request) {
  atomic_fetch_add(&request->references, 1);
}

void request_free(struct request *request) {
  if (atomic_fetch_sub(&request->references, 1) != 1)
    return;
  if (request->post)
    MHD_destroy_post_processor(request->post);
  struct part *const parts[] = {&request->body, &request->image, &request->prompts, &request->threshold};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    atomic_fetch_sub(&request->server->body_bytes, parts[i]->capacity);
    free(parts[i]->bytes);
  }
  stream_free(request->stream);
  if (request->response)
    MHD_destroy_response(request->response);
  pthread_mutex_destroy(&request->lock);
  free(request);
}

bool request_suspend(struct request *request) {
  if (atomic_load(&request->server->stopping))
    return false;
  request->suspended = true;
  MHD_suspend_connection(request->connection);
  keeper_watch(request->server->keeper, request);
  return true;
}

/* The lock is held. */
static void resume(struct request *request) {
  if (!request->suspended)
    return;
  request->suspended = false;
  keeper_unwatch(request->server->keeper, request);
  MHD_resume_connection(request->connection);
}

void request_resume(struct request *request) {
  pthread_mutex_lock(&request->lock);
  resume(request);
  pthread_mutex_unlock(&request->lock);
}

void request_ping(struct request *request) {
  pthread_mutex_lock(&request->lock);
  request->ping = request->stream != NULL;
  if (request->ping)
    resume(request);
  pthread_mutex_unlock(&request->lock);
}

bool request_answer(struct request *request, unsigned status, struct MHD_Response *response) {
  pthread_mutex_lock(&request->lock);
  bool first = !request->answered;
  if (first) {
    request->answered = true;
    request->status = status;
    request->response = response;
    resume(request);
  }
  pthread_mutex_unlock(&request->lock);
  if (!first && response)
    MHD_destroy_response(response);
  return first;
}

void request_gone(struct request *request) {
  pthread_mutex_lock(&request->lock);
  request->gone = true;
  struct job *job = request->stream ? NULL : request->job;
  if (job)
    atomic_fetch_add(&job->references, 1);
  if (request->stream)
    resume(request);
  pthread_mutex_unlock(&request->lock);
  if (job)
    job_cancel(job);
  job_free(job);
  if (!request->stream)
    request_answer(request, 499, NULL); /* the status that logs use for this */
}

bool request_left(struct request *request) {
  pthread_mutex_lock(&request->lock);
  bool gone = request->gone;
  pthread_mutex_unlock(&request->lock);
  return gone;
}

bool request_listen(struct request *request, struct job *job) {
  pthread_mutex_lock(&job->lock);
  pthread_mutex_lock(&request->lock);
  bool here = !request->gone;
  if (here) {
    atomic_fetch_add(&job->references, 1);
    request->job = job;
    request->next_listener = job->listeners;
    job->listeners = request;
  }
  pthread_mutex_unlock(&request->lock);
  pthread_mutex_unlock(&job->lock);
  return here;
}

static void stop_listening(struct request *request) {
  pthread_mutex_lock(&request->lock);
  request->gone = true; /* nobody may listen for it any more */
  struct job *job = request->job;
  request->job = NULL;
  pthread_mutex_unlock(&request->lock);
  if (!job)
    return;
  pthread_mutex_lock(&job->lock);
  struct request **at = &job->listeners;
  while (*at && *at != request)
    at = &(*at)->next_listener;
  if (*at)
    *at = request->next_listener;
  pthread_mutex_unlock(&job->lock);
  job_free(job);
}

/* ---- bodies ---- */

/* Adds to a part; false when the request is over its limit or the server over its own. */
static bool append(struct request *request, struct part *part, const char *bytes, size_t size) {
  struct server *server = request->server;
  if (part->size + size + 1 > part->capacity) {
    size_t capacity = part->size + size + 1;
    capacity += capacity < 4096 ? 4096 : capacity / 2;
    size_t more = capacity - part->capacity;
    char *longer = NULL;
    if (atomic_fetch_add(&server->body_bytes, more) + more <= server->settings.queue_bytes)
      longer = mem_resize(part->bytes, capacity, 1);
    if (!longer) {
      atomic_fetch_sub(&server->body_bytes, more);
      respond_problem(request, PROBLEM_QUEUE_FULL, "too many requests are arriving (queue_bytes)");
      return false;
    }
    part->bytes = longer;
    part->capacity = capacity;
  }
  memcpy(part->bytes + part->size, bytes, size);
  part->size += size;
  part->bytes[part->size] = '\0';
  return true;
}

static enum MHD_Result form_field(void *user, enum MHD_ValueKind kind, const char *key, const char *filename,
                                  const char *type, const char *encoding, const char *data, uint64_t offset,
                                  size_t size) {
  (void)kind, (void)type, (void)encoding;
  struct request *request = user;
  struct part *part = NULL;
  if (key && strcmp(key, "image") == 0)
    part = &request->image;
  else if (key && strcmp(key, "prompts") == 0 && request->route->handle == post_segment)
    part = &request->prompts;
  else if (key && strcmp(key, "threshold") == 0 && request->route->handle == post_segment)
    part = &request->threshold;
  if (request->answered)
    return MHD_NO;
  if (!part)
    respond_problem(request, PROBLEM_UNPROCESSABLE, "the form has an unknown field '%.60s'", key ? key : "");
  else if (offset != part->size)
    respond_problem(request, PROBLEM_BAD_REQUEST, "the form has the field '%s' twice", key);
  else if (part != &request->image && part->size + size > (1 << 20))
    respond_problem(request, PROBLEM_TOO_LARGE, "the field '%s' is more than 1 MiB", key);
  else if (append(request, part, data, size)) {
    if (part == &request->image && filename && !*request->filename)
      snprintf(request->filename, sizeof request->filename, "%s", filename);
    return MHD_YES;
  }
  return MHD_NO;
}

static void take(struct request *request, const char *data, size_t size) {
  uint64_t most = request->server->settings.max_body_bytes;
  request->received += size;
  if (request->answered)
    return;
  if (request->received > most)
    respond_problem(request, PROBLEM_TOO_LARGE, "the body is more than the limit of %llu bytes (max_body_bytes)",
                    (unsigned long long)most);
  else if (request->kind == BODY_MULTIPART) {
    if (MHD_post_process(request->post, data, size) != MHD_YES && !request->answered)
      respond_problem(request, PROBLEM_BAD_REQUEST, "the form is not well-formed multipart/form-data");
  } else if (request->kind != BODY_NONE) {
    append(request, &request->body, data, size);
  }
}

static void end_body(struct request *request) {
  if (request->post && MHD_destroy_post_processor(request->post) != MHD_YES && !request->answered)
    respond_problem(request, PROBLEM_BAD_REQUEST, "the form ends too soon");
  request->post = NULL;
}

static const char *header(const struct request *request, const char *name) {
  return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

/* Whether a media type is `type`, whatever its parameters. */
static bool media_is(const char *value, const char *type) {
  size_t size = strlen(type);
  return strncasecmp(value, type, size) == 0 && (value[size] == '\0' || strchr("; \t", value[size]));
}

static void choose_body(struct request *request) {
  const char *type = header(request, "Content-Type");
  const char *coding = header(request, "Content-Encoding");
  bool image_only = request->route->flags & OPTIONAL_RAW, form = image_only || request->route->handle == post_segment;
  if (coding && strcasecmp(coding, "identity") != 0) {
    respond_problem(request, PROBLEM_MEDIA, "Content-Encoding %.60s: send the body as it is", coding);
  } else if (type && media_is(type, "application/json") && !image_only) {
    request->kind = BODY_JSON;
  } else if (type && media_is(type, "multipart/form-data") && form) {
    request->kind = BODY_MULTIPART;
    request->post = MHD_create_post_processor(request->connection, 4096, form_field, request);
    if (!request->post)
      respond_problem(request, PROBLEM_BAD_REQUEST, "multipart/form-data without a boundary");
  } else if (type && strncasecmp(type, "image/", 6) == 0 && image_only) {
    request->kind = BODY_RAW;
  } else {
    respond_problem(request, PROBLEM_MEDIA, "Content-Type %.60s: not %s", type ? type : "(none)",
                    image_only ? "multipart/form-data or image/..."
                    : form     ? "multipart/form-data or application/json"
                               : "application/json");
  }
}

/* ---- routes ---- */

/* Whether `path` is `pattern`; {id} takes one part, which goes into `id`. */
static bool matches(const char *pattern, const char *path, char id[ID_SIZE]) {
  for (; *pattern; pattern++) {
    if (*pattern == '{') {
      size_t size = strcspn(path, "/");
      pattern += 3;
      if (!size)
        return false;
      snprintf(id, ID_SIZE, "%.*s", (int)(size < ID_SIZE ? size : 0), path); /* too long: no id */
      path += size;
    } else if (*pattern == '*') {
      return *path != '\0';
    } else if (*pattern != *path++) {
      return false;
    }
  }
  return !*path;
}

static bool method_is(const struct route *route, const char *method) {
  return !strcmp(route->method, method) || (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"));
}

static void find_route(struct request *request) {
  for (size_t i = 0; i < n_routes; i++) {
    const struct route *route = &routes[i];
    if (!matches(route->path, request->path, request->id))
      continue;
    if (method_is(route, request->method)) {
      request->route = route;
      return;
    }
    snprintf(request->allow + strlen(request->allow), sizeof request->allow - strlen(request->allow), "%s%s%s",
             *request->allow ? ", " : "", route->method, strcmp(route->method, "GET") == 0 ? ", HEAD" : "");
  }
  if (*request->allow && !strcmp(request->method, "OPTIONS") && request->server->settings.cors_origins.count)
    respond_empty(request, 204);
  else if (*request->allow)
    respond_problem(request, PROBLEM_METHOD, "%s does not apply to %s; it takes %s", request->method, request->path,
                    request->allow);
  else
    respond_problem(request, PROBLEM_NOT_FOUND, "nothing is at %s", request->path);
}

static bool authorized(struct request *request) {
  const char *bearer = header(request, "Authorization"), *key = header(request, "X-API-Key");
  if (bearer && strncasecmp(bearer, "Bearer ", 7) == 0)
    key = bearer + 7;
  return key_allowed(request->server, key ? key : "");
}

/* A page of another server, or one that has taken a name of its own for this server, is refused. */
static void check_page(struct request *request) {
  static const char *const safe[] = {"GET", "HEAD", "OPTIONS"};
  const struct settings *s = &request->server->settings;
  const char *host = header(request, "Host");
  if (host && !host_allowed(&s->allowed_hosts, host)) {
    respond_problem(request, PROBLEM_MISDIRECTED,
                    "this server is not known as '%.100s'; the setting allowed_hosts gives it more names", host);
    return;
  }
  for (size_t i = 0; i < sizeof safe / sizeof *safe; i++)
    if (strcmp(request->method, safe[i]) == 0)
      return;
  if (*request->origin && !origin_in(&s->cors_origins, request->origin) && !origin_is_host(request->origin, host))
    respond_problem(request, PROBLEM_FORBIDDEN,
                    "a page of '%.100s' may not do this; the setting cors_origins names those that may",
                    request->origin);
}

/* How often a request has the headers that say where it goes and where it ends. */
struct framing {
  unsigned hosts, lengths, codings;
  bool chunked;
};

static enum MHD_Result count_header(void *user, enum MHD_ValueKind kind, const char *name, const char *value) {
  (void)kind;
  struct framing *framing = user;
  framing->hosts += strcasecmp(name, "Host") == 0;
  framing->lengths += strcasecmp(name, "Content-Length") == 0;
  if (strcasecmp(name, "Transfer-Encoding") == 0) {
    framing->codings++;
    framing->chunked = value && strcasecmp(value, "chunked") == 0;
  }
  return MHD_YES;
}

/* What a proxy could understand otherwise than libmicrohttpd does is refused, and its connection closed. */
static void check_framing(struct request *request, const char *version) {
  struct framing framing = {0};
  MHD_get_connection_values(request->connection, MHD_HEADER_KIND, count_header, &framing);
  if (framing.hosts > 1 || (!framing.hosts && strcmp(version, MHD_HTTP_VERSION_1_1) == 0))
    respond_problem(request, PROBLEM_BAD_REQUEST, "the header Host is missing or there twice");
  else if (framing.lengths + framing.codings > 1 || (framing.codings && !framing.chunked))
    respond_problem(request, PROBLEM_BAD_REQUEST,
                    "one Content-Length or one Transfer-Encoding: chunked says where the body ends");
  request->misframed = request->answered;
}

/* What the headers already tell. */
static void check(struct request *request) {
  struct server *server = request->server;
  if (!request->answered)
    check_page(request);
  if (!request->answered)
    find_route(request);
  if (request->answered)
    return;
  int flags = (int)request->route->flags;
  const char *length = header(request, "Content-Length");
  if ((flags & NEEDS_KEY) && !authorized(request))
    respond_problem(request, PROBLEM_UNAUTHORIZED, "send Authorization: Bearer KEY or X-API-Key: KEY");
  else if (atomic_load(&server->draining) && !strcmp(request->method, "POST"))
    respond_problem(request, PROBLEM_UNAVAILABLE, "the server is about to end and takes no new work");
  else if ((flags & NEEDS_ENGINE) && !atomic_load(&server->engine))
    respond_problem(request, PROBLEM_UNAVAILABLE, "the model is still being loaded");
  else if (length && strtoull(length, NULL, 10) > server->settings.max_body_bytes)
    respond_problem(request, PROBLEM_TOO_LARGE,
                    "the body of %.20s bytes is more than the limit of %llu (max_body_bytes)", length,
                    (unsigned long long)server->settings.max_body_bytes);
  else if (flags & NEEDS_BODY)
    choose_body(request);
}

/* ---- libmicrohttpd's callbacks ---- */

static void connected(void *user, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode what) {
  struct keeper *keeper = ((struct server *)user)->keeper;
  struct visitor *visitor = *context;
  if (what == MHD_CONNECTION_NOTIFY_STARTED && (*context = visitor = mem_zeroed(1, sizeof *visitor))) {
    visitor->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    keeper_meet(keeper, visitor);
  } else if (what == MHD_CONNECTION_NOTIFY_CLOSED && visitor) {
    keeper_part(keeper, visitor);
    free(visitor);
  }
}

static void name_client(struct request *request) {
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  const struct sockaddr *address = info ? info->client_addr : NULL;
  if (address && address->sa_family == AF_INET)
    inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, request->client, sizeof request->client);
  if (address && address->sa_family == AF_INET6)
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, request->client, sizeof request->client);
}

static struct request *request_new(struct server *server, struct MHD_Connection *connection, const char *url,
                                   const char *method) {
  struct visitor *visitor = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
  struct request *request = visitor ? mem_zeroed(1, sizeof *request) : NULL;
  if (!request)
    return NULL;
  atomic_init(&request->references, 1);
  pthread_mutex_init(&request->lock, NULL);
  request->server = server;
  request->connection = connection;
  request->visitor = visitor;
  request->began = now_seconds();
  snprintf(request->method, sizeof request->method, "%s", method);
  snprintf(request->path, sizeof request->path, "%s", url);
  const char *origin = header(request, "Origin");
  snprintf(request->origin, sizeof request->origin, "%s", origin ? origin : "");
  const char *prefer = header(request, "Prefer");
  request->async = prefer && strcasestr(prefer, "respond-async");
  name_client(request);
  keeper_add(server->keeper, request);
  return request;
}

static void run_handler(void *user) {
  struct request *request = user;
  request->route->handle(request);
  request_free(request);
}

/* Everything has arrived. */
static void begin(struct request *request) {
  request->begun = true;
  end_body(request);
  keeper_arrived(request->server->keeper, request);
  if (request->answered)
    return;
  if (!(request->route->flags & DEFERRED)) {
    request->route->handle(request);
    return;
  }
  pthread_mutex_lock(&request->lock);
  bool waits = request_suspend(request);
  pthread_mutex_unlock(&request->lock);
  request_share(request);
  if (!waits)
    respond_problem(request, PROBLEM_UNAVAILABLE, "the server ends");
  if (!waits || !pool_add(request->server->pool, false, run_handler, request)) {
    respond_problem(request, PROBLEM_UNAVAILABLE, "no memory for the request");
    request_free(request);
  }
}

static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *data, size_t *size, void **state) {
  struct request *request = *state;
  if (!request) {
    *state = request = request_new(user, connection, url, method);
    if (!request)
      return MHD_NO;
    check_framing(request, version);
    check(request);
    const char *expect = header(request, "Expect"), *length = header(request, "Content-Length");
    bool huge = length && strtoull(length, NULL, 10) > DISCARD_FACTOR * request->server->settings.max_body_bytes;
    if (!request->answered || !(expect || huge || request->misframed))
      return MHD_YES; /* an answer given before the body would be lost on most clients */
  } else if (*size) {
    take(request, data, *size);
    *size = 0;
    return request->received > DISCARD_FACTOR * request->server->settings.max_body_bytes ? MHD_NO : MHD_YES;
  } else if (!request->begun) {
    begin(request);
  }
  pthread_mutex_lock(&request->lock);
  bool answered = request->answered;
  struct MHD_Response *response = request->response;
  request->response = NULL;
  pthread_mutex_unlock(&request->lock);
  if (!answered)
    return MHD_YES;                                 /* suspended */
  keeper_arrived(request->server->keeper, request); /* or will not */
  enum MHD_Result result = response ? MHD_queue_response(connection, request->status, response) : MHD_NO;
  if (response)
    MHD_destroy_response(response);
  return result;
}

static void completed(void *user, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode code) {
  (void)connection, (void)code;
  struct server *server = user;
  struct request *request = *state;
  if (!request)
    return;
  *state = NULL;
  keeper_remove(server->keeper, request);
  stop_listening(request);
  unsigned class = request->status / 100;
  atomic_fetch_add(&server->answers[class < STATUS_CLASSES ? class : 0], 1);
  log_request(server->log, request, now_seconds() - request->began);
  request_free(request);
}

static void complain(void *user, const char *format, va_list args) {
  char text[300];
  vsnprintf(text, sizeof text, format, args);
  text[strcspn(text, "\n")] = '\0';
  log_event(((struct server *)user)->log, "warning", "%s", text);
}

sam3_status http_start(struct server *server, int listening, struct sam3_error *err) {
  server->daemon = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle,
      server, MHD_OPTION_EXTERNAL_LOGGER, complain, server, MHD_OPTION_LISTEN_SOCKET, listening,
      MHD_OPTION_NOTIFY_COMPLETED, completed, server, MHD_OPTION_NOTIFY_CONNECTION, connected, server,
      MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)server->settings.idle_seconds, MHD_OPTION_CONNECTION_LIMIT,
      (unsigned)server->settings.max_connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
      MHD_OPTION_END);
  return server->daemon ? SAM3_OK : fail(err, SAM3_ERR_IO, "the HTTP server could not be started: %s", strerror(errno));
}

static void release(struct request *request) {
  if (!request->stream && request->begun)
    respond_problem(request, PROBLEM_UNAVAILABLE, "the server ends");
  request_gone(request); /* and its job is cancelled */
}

void http_release(struct server *server) {
  atomic_store(&server->stopping, true);
  keeper_each(server->keeper, release);
}

void http_stop(struct server *server) {
  MHD_stop_daemon(server->daemon);
}
