/* The log: JSON, an object a line, each written by one call so that lines never mix. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "serve/server.h"

struct log {
  const char *path; /* "": standard error */
  _Atomic int fd;
};

static int open_file(const char *path) {
  return *path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640) : STDERR_FILENO;
}

sam3_status log_open(const char *path, struct log **out, struct sam3_error *err) {
  struct log *log = *out = mem_zeroed(1, sizeof *log);
  if (!log)
    return fail_memory(err, sizeof *log, "the log");
  log->path = path;
  log->fd = open_file(path);
  if (log->fd >= 0)
    return SAM3_OK;
  free(log);
  *out = NULL;
  return fail(err, SAM3_ERR_IO, "log_file: %s: %s", path, strerror(errno));
}

void log_reopen(struct log *log) {
  int fd = *log->path ? open_file(log->path) : -1;
  if (fd < 0)
    return;                     /* the old one goes on */
  dup3(fd, log->fd, O_CLOEXEC); /* at once, under the threads that write */
  close(fd);
}

/* Takes the object. */
static void put(struct log *log, json_t *json) {
  if (!log)
    return;
  char line[2048], when[40];
  struct timespec now;
  struct tm utc;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(when + n, sizeof when - n, ".%03ldZ", now.tv_nsec / 1000000);
  json_object_set_new(json, "time", json_string(when));
  n = json_dumpb(json, line, sizeof line - 1, JSON_COMPACT | JSON_REAL_PRECISION(6));
  json_decref(json);
  if (!n || n >= sizeof line)
    return;
  line[n++] = '\n';
  (void)!write(log->fd, line, n); /* a full disk must not stop the server */
}

void log_request(struct log *log, const struct request *request, double seconds) {
  put(log, json_pack("{s:s, s:o, s:o, s:i, s:I, s:f, s:s}", "event", "request", "method", json_text(request->method),
                     "path", json_text(request->path), "status", (int)request->status, "received",
                     (json_int_t)request->received, "ms", 1e3 * seconds, "client", request->client));
}

void log_event(struct log *log, const char *level, const char *format, ...) {
  char text[600];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  put(log, json_pack("{s:s, s:o}", "event", level, "message", json_text(text)));
}

void log_close(struct log *log) {
  if (log && log->fd > STDERR_FILENO)
    close(log->fd);
  free(log);
}
