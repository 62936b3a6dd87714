#include "cli/targets.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct target {
  char *path; /* absolute, as far as that is known */
  const char *flag, *image;
};

#define STEM "{stem}"

char *image_stem(const char *image) {
  if (strcmp(image, "-") == 0)
    return need(strdup("stdin"));
  const char *slash = strrchr(image, '/'), *name = slash ? slash + 1 : image, *dot = strrchr(name, '.');
  return need(strndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name)));
}

static bool is_directory(const char *path) {
  struct stat status;
  size_t length = strlen(path);
  return (length && path[length - 1] == '/') || (stat(path, &status) == 0 && S_ISDIR(status.st_mode));
}

bool target_is_pattern(const char *pattern) {
  return strstr(pattern, STEM) || is_directory(pattern);
}

char *target_path(const char *pattern, const char *stem, const char *ending) {
  char *path = NULL;
  const char *place = strstr(pattern, STEM);
  int length;
  if (place)
    length = asprintf(&path, "%.*s%s%s", (int)(place - pattern), pattern, stem, place + strlen(STEM));
  else if (is_directory(pattern))
    length = asprintf(&path, "%s%s%s%s", pattern, pattern[strlen(pattern) - 1] == '/' ? "" : "/", stem, ending);
  else
    length = asprintf(&path, "%s", pattern);
  return need(length < 0 ? NULL : path);
}

/* The path without links and dots, also of a file that does not exist yet. */
static char *absolute(const char *path) {
  char *real = realpath(path, NULL);
  if (real)
    return real;
  const char *slash = strrchr(path, '/');
  char *directory = need(slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("."));
  char *above = realpath(directory, NULL), *whole = NULL;
  int length = asprintf(&whole, "%s/%s", above ? above : directory, slash ? slash + 1 : path);
  free(directory);
  free(above);
  return need(length < 0 ? NULL : whole);
}

void targets_add(struct targets *targets, const char *path, const char *flag, const char *image) {
  struct stat status;
  if (strcmp(path, "-") == 0 || (stat(path, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)))
    return; /* streams and devices take everything */
  targets->items = grow(targets->items, targets->count, sizeof *targets->items);
  targets->items[targets->count++] = (struct target){absolute(path), flag, image};
}

static int by_path(const void *a, const void *b) {
  return strcmp(((const struct target *)a)->path, ((const struct target *)b)->path);
}

bool targets_check(struct targets *targets) {
  if (targets->count)
    qsort(targets->items, targets->count, sizeof *targets->items, by_path);
  for (size_t i = 1; i < targets->count; i++) {
    const struct target *a = &targets->items[i - 1], *b = &targets->items[i];
    if (strcmp(a->path, b->path) != 0 || (!a->flag && !b->flag))
      continue;
    if (!a->flag || !b->flag)
      complain("%s would overwrite the input %s", a->flag ? a->flag : b->flag, a->path);
    else if (strcmp(a->flag, b->flag) != 0)
      complain("%s and %s would both write %s", a->flag, b->flag, a->path);
    else
      complain("%s: the results of %s and %s would both go to %s (a directory, or a name with {stem}, keeps images "
               "apart that have different names)",
               a->flag, a->image, b->image, a->path);
    return false;
  }
  return true;
}

bool targets_make_directories(const struct targets *targets) {
  for (size_t i = 0; i < targets->count; i++) {
    const char *path = targets->items[i].path, *slash = strrchr(path, '/');
    if (!targets->items[i].flag || !slash || slash == path)
      continue;
    char *directory = need(strndup(path, (size_t)(slash - path)));
    bool made = make_directories(directory);
    free(directory);
    if (!made)
      return false;
  }
  return true;
}

void targets_free(struct targets *targets) {
  for (size_t i = 0; i < targets->count; i++)
    free(targets->items[i].path);
  free(targets->items);
}
