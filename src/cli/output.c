#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

struct output {
  FILE *stream;
  const char *path;    /* the caller's, for messages */
  char *target;        /* symbolic links followed */
  char *temporary;     /* NULL: written directly */
  struct output *next; /* in `unfinished` */
};

static struct output *volatile unfinished;                  /* those with a temporary file */
static pthread_mutex_t listing = PTHREAD_MUTEX_INITIALIZER; /* held by who changes that list */

void output_interrupt(void) {
  for (struct output *out = unfinished; out; out = out->next)
    unlink(out->temporary);
}

void output_abandon(void) {
  pthread_mutex_lock(&listing); /* for good: nothing else is to begin */
  output_interrupt();
}

static void discard(struct output *out) {
  pthread_mutex_lock(&listing);
  struct output *volatile *link = &unfinished;
  while (*link && *link != out)
    link = (struct output *volatile *)&(*link)->next;
  if (*link)
    *link = out->next;
  pthread_mutex_unlock(&listing);
  free(out->temporary);
  free(out->target);
  free(out);
}

static struct output *refused(struct output *out) {
  complain("%s: %s", out->path, strerror(errno));
  discard(out);
  return NULL;
}

struct output *output_open(const char *path) {
  struct output *out = need(calloc(1, sizeof *out));
  out->path = path;
  if (strcmp(path, "-") == 0) {
    out->stream = stdout;
    return out;
  }
  struct stat status;
  if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
    out->stream = fopen(path, "w"); /* fails for a directory */
    return out->stream ? out : refused(out);
  }
  out->target = realpath(path, NULL);
  if (!out->target)
    out->target = need(strdup(path));
  if (asprintf(&out->temporary, "%s.%ld.tmp", out->target, (long)getpid()) < 0)
    out->temporary = need(NULL);
  pthread_mutex_lock(&listing);
  out->next = unfinished;
  unfinished = out;
  pthread_mutex_unlock(&listing);
  int fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0)
    return refused(out);
  out->stream = need(fdopen(fd, "w"));
  return out;
}

void stdout_failed(void) {
  complain("standard output: %s", strerror(errno));
  output_abandon();
  _exit(EXIT_FAILED);
}

bool output_write(struct output *out, const char *text, size_t size) {
  bool written = fwrite(text, 1, size, out->stream) == size;
  if (out->stream == stdout && (!written || fflush(stdout) != 0))
    stdout_failed();
  if (!written)
    complain("%s: %s", out->path, strerror(errno));
  return written;
}

void output_drop(struct output *out) {
  if (out->stream != stdout)
    fclose(out->stream);
  if (out->temporary)
    unlink(out->temporary);
  discard(out);
}

bool output_close(struct output *out) {
  bool written = out->stream == stdout || fclose(out->stream) == 0;
  if (written && out->temporary)
    written = rename(out->temporary, out->target) == 0;
  if (!written) {
    complain("%s: %s", out->path, strerror(errno));
    if (out->temporary)
      unlink(out->temporary);
  }
  discard(out);
  return written;
}

bool output_file(const char *path, const char *text) {
  struct output *out = output_open(path);
  if (!out)
    return false;
  if (output_write(out, text, strlen(text)))
    return output_close(out);
  output_drop(out);
  return false;
}

bool make_directories(const char *path) {
  char *part = need(strdup(path));
  bool made = true;
  for (char *slash = part; made && slash;) {
    slash = strchr(slash + 1, '/');
    if (slash)
      *slash = '\0';
    made = mkdir(part, 0777) == 0 || errno == EEXIST;
    if (slash)
      *slash = '/';
  }
  struct stat status;
  if (made && stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
    errno = ENOTDIR;
    made = false;
  }
  if (!made)
    complain("%s: %s", path, strerror(errno));
  free(part);
  return made;
}
