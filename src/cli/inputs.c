#include "cli/inputs.h"

#include <errno.h>
#include <fts.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The first `length` bytes of `path` as an absolute path without links; an empty one is the current folder. NULL with
 * errno: it is not there. */
static char *real_folder(const char *path, size_t length) {
  char *part = need(strndup(length ? path : ".", length ? length : 1)), *real = realpath(part, NULL);
  free(part);
  return real;
}

static char *join(const char *folder, const char *name) {
  return make_text("%s/%s", strcmp(folder, "/") ? folder : "", name);
}

/* Moves the root up until it holds `folder`, too. */
static void widen_root(struct inputs *inputs, const char *folder) {
  if (!inputs->root) {
    inputs->root = need(strdup(folder));
    return;
  }
  char *root = inputs->root;
  size_t same = 0, end = 0; /* `end`: of the last whole component that both have */
  for (;; same++) {
    if ((!root[same] || root[same] == '/') && (!folder[same] || folder[same] == '/'))
      end = same;
    if (!root[same] || root[same] != folder[same])
      break;
  }
  root[end ? end : 1] = '\0'; /* at least "/" */
}

static void add(struct inputs *inputs, char *path, bool folder) {
  inputs->items = grow(inputs->items, inputs->count, sizeof *inputs->items);
  inputs->items[inputs->count++] = (struct input){path, folder};
}

static bool is_folder(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* A folder or a file by itself. False with errno: its folder is not there. */
static bool add_path(struct inputs *inputs, const char *path) {
  if (is_folder(path)) {
    char *folder = real_folder(path, strlen(path));
    if (folder) {
      widen_root(inputs, folder);
      add(inputs, folder, true);
    }
    return folder;
  }
  const char *slash = strrchr(path, '/');
  char *folder = real_folder(path, slash ? (size_t)(slash - path) + 1 : 0);
  if (!folder)
    return false;
  widen_root(inputs, folder);
  add(inputs, join(folder, slash ? slash + 1 : path), false);
  free(folder);
  return true;
}

static bool add_pattern(struct inputs *inputs, const char *pattern) {
  /* What stands before the first wildcard does not depend on what there is, so it can be the root. */
  size_t fixed = strcspn(pattern, "*?[{");
  while (fixed && pattern[fixed - 1] != '/')
    fixed--;
  glob_t matches;
  int problem = glob(pattern, GLOB_BRACE, NULL, &matches);
  char *folder = problem ? NULL : real_folder(pattern, fixed);
  if (!folder) {
    complain("%s: %s", pattern, problem == GLOB_NOMATCH ? "no file matches" : "cannot be searched");
    return false;
  }
  widen_root(inputs, folder);
  for (size_t i = 0; i < matches.gl_pathc; i++) {
    char *path = join(folder, matches.gl_pathv[i] + fixed);
    add(inputs, path, is_folder(path));
  }
  free(folder);
  globfree(&matches);
  return true;
}

bool inputs_add(struct inputs *inputs, const char *argument) {
  struct stat status;
  if (argument[0] == '@')
    return inputs_add_list(inputs, argument + 1);
  if (stat(argument, &status) != 0 && errno == ENOENT && strpbrk(argument, "*?[{"))
    return add_pattern(inputs, argument);
  if (stat(argument, &status) == 0 && add_path(inputs, argument))
    return true;
  complain("%s: %s", argument, strerror(errno));
  return false;
}

bool inputs_add_list(struct inputs *inputs, const char *list) {
  bool standard = strcmp(list, "-") == 0, good = true;
  FILE *stream = standard ? stdin : fopen(list, "re");
  char *line = NULL;
  size_t size = 0;
  ssize_t length = 0;
  for (int number = 1; stream && good && (length = getline(&line, &size, stream)) >= 0; number++) {
    while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
      line[--length] = '\0';
    if (length && !(good = add_path(inputs, line)))
      complain("%s: line %d: %s: %s", list, number, line, strerror(errno));
  }
  if (!stream || (good && ferror(stream))) {
    complain("%s: %s", list, strerror(errno));
    good = false;
  }
  free(line);
  if (stream && !standard)
    fclose(stream);
  return good;
}

/* ---------------------------------------------------------------------------------------- folders */

static bool is_image(const char *name) {
  static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
    if (strcasecmp(dot, endings[i]) == 0)
      return true;
  return false;
}

struct search {
  const char *root, *skip;
  bool (*found)(void *user, const char *name, const struct stat *status);
  void *user;
};

static const char *below_root(const struct search *search, const char *path) {
  return path + strlen(search->root) + (strcmp(search->root, "/") != 0);
}

static bool scan_entry(const struct search *search, FTS *tree, FTSENT *entry) {
  bool hidden = entry->fts_level > 0 && entry->fts_name[0] == '.';
  switch (entry->fts_info) {
  case FTS_D:
    if (hidden || (entry->fts_level > 0 && strcmp(entry->fts_path, search->skip) == 0))
      fts_set(tree, entry, FTS_SKIP);
    return true;
  case FTS_DNR:
  case FTS_ERR:
    complain("%s: %s", entry->fts_path, strerror(entry->fts_errno));
    return false;
  case FTS_F:
    return hidden || !is_image(entry->fts_name) ||
           search->found(search->user, below_root(search, entry->fts_path), entry->fts_statp);
  case FTS_NS:
  case FTS_SLNONE: /* a link to nothing */
    return hidden || !is_image(entry->fts_name) ||
           search->found(search->user, below_root(search, entry->fts_path), NULL);
  default: /* the end of a folder, a circle of links, devices */
    return true;
  }
}

static bool scan_folder(const struct search *search, char *folder) {
  FTS *tree = fts_open((char *[]){folder, NULL}, FTS_LOGICAL | FTS_NOCHDIR, NULL);
  bool good = tree != NULL;
  FTSENT *entry;
  errno = 0;
  while (good && (entry = fts_read(tree))) {
    good = scan_entry(search, tree, entry);
    errno = 0;
  }
  if (!tree || (good && errno)) {
    complain("%s: %s", folder, strerror(errno));
    good = false;
  }
  if (tree)
    fts_close(tree);
  return good;
}

bool inputs_scan(const struct inputs *inputs, const char *skip,
                 bool (*found)(void *user, const char *name, const struct stat *status), void *user) {
  const struct search search = {inputs->root, skip, found, user};
  bool good = true;
  for (size_t i = 0; i < inputs->count && good; i++) {
    struct input *input = &inputs->items[i];
    struct stat status;
    if (input->folder)
      good = scan_folder(&search, input->path);
    else
      good = found(user, below_root(&search, input->path), stat(input->path, &status) == 0 ? &status : NULL);
  }
  return good;
}

void inputs_free(struct inputs *inputs) {
  for (size_t i = 0; i < inputs->count; i++)
    free(inputs->items[i].path);
  free(inputs->items);
  free(inputs->root);
}
