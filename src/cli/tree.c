#include "cli/tree.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool refused(const char *path) {
  complain("%s: %s", path, strerror(errno));
  return false;
}

/* Calls `each` with the names of the files in a folder, in no order. False after complaining. */
static bool each_file(const char *folder, bool (*each)(void *user, const char *folder, const char *name), void *user) {
  DIR *entries = opendir(folder);
  if (!entries)
    return refused(folder);
  bool good = true;
  struct dirent *entry;
  while (good && (errno = 0, entry = readdir(entries)))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      good = each(user, folder, entry->d_name);
  if (good && errno)
    good = refused(folder);
  closedir(entries);
  return good;
}

static bool remove_file(void *user, const char *folder, const char *name) {
  (void)user;
  char *path = make_text("%s/%s", folder, name);
  bool good = unlink(path) == 0 || refused(path);
  free(path);
  return good;
}

static bool remove_folder(void *user, const char *folder, const char *name) {
  char *path = make_text("%s/%s", folder, name);
  bool good = each_file(path, remove_file, user) && (rmdir(path) == 0 || refused(path));
  free(path);
  return good;
}

bool tree_open(struct tree *tree) {
  tree->unfinished = make_text("%s/.sam3-batch.unfinished", tree->root);
  return make_directories(tree->unfinished) && each_file(tree->unfinished, remove_folder, NULL);
}

void tree_close(struct tree *tree) {
  if (tree->unfinished)
    rmdir(tree->unfinished);
  free(tree->unfinished);
  free(tree->real);
}

/* ------------------------------------------------------------------------------- files of an image */

/* Where an output path's last part begins. */
static const char *base_of(const char *output) {
  const char *slash = strrchr(output, '/');
  return slash ? slash + 1 : output;
}

static char *folder_of(const struct tree *tree, const char *output) {
  int length = (int)(base_of(output) - output);
  return make_text("%s/%.*s", tree->root, length ? length - 1 : 0, output);
}

static bool write_text(const struct tree *tree, const char *folder, const char *base, const char *name,
                       const char *model, const struct sam3_results *results, char **document) {
  struct sam3_error err;
  char *content;
  if (sam3_results_format(results, tree->format, model, name, &content, &err) != SAM3_OK)
    return failed(&err), false;
  if (tree->format == SAM3_FORMAT_COCO) {
    *document = content;
    return true;
  }
  char *path = make_text("%s/%s%s", folder, base, format_ending(tree->format));
  bool good = output_file(path, content);
  free(path);
  free(content);
  return good;
}

static bool write_pictures(const struct tree *tree, const char *folder, const char *base,
                           const struct sam3_results *results, const sam3_image *image) {
  struct sam3_error err = {0};
  if (tree->overlay) {
    char *path = make_text("%s/%s.overlay.%s", folder, base, tree->overlay);
    sam3_results_overlay(results, image, path, &err);
    free(path);
  }
  if (tree->masks && err.status == SAM3_OK)
    sam3_results_write_masks(results, folder, base, &err);
  if (err.status != SAM3_OK)
    failed(&err);
  return err.status == SAM3_OK;
}

static bool move_file(void *user, const char *folder, const char *name) {
  char *from = make_text("%s/%s", folder, name), *to = make_text("%s/%s", (const char *)user, name);
  bool good = rename(from, to) == 0 || refused(to);
  free(from);
  free(to);
  return good;
}

bool tree_write(const struct tree *tree, size_t number, const char *output, const char *name, const char *model,
                const struct sam3_results *results, const sam3_image *image, char **document) {
  const char *base = base_of(output);
  char *place = folder_of(tree, output), *unfinished = make_text("%s/%zu", tree->unfinished, number);
  *document = NULL;
  bool good = make_directories(unfinished) && write_text(tree, unfinished, base, name, model, results, document) &&
              write_pictures(tree, unfinished, base, results, image) && make_directories(place) &&
              each_file(unfinished, move_file, place) && (rmdir(unfinished) == 0 || refused(unfinished));
  free(place);
  free(unfinished);
  if (!good) {
    free(*document);
    *document = NULL;
  }
  return good;
}

/* Is `name` what tree_write() calls a file of `base`: BASE.json, BASE.overlay.png, BASE-0-12.png? */
static bool belongs(const struct tree *tree, const char *base, const char *name) {
  size_t length = strlen(base);
  if (strncmp(name, base, length) != 0)
    return false;
  const char *rest = name + length;
  if (strcmp(rest, format_ending(tree->format)) == 0 ||
      (tree->overlay && strncmp(rest, ".overlay.", 9) == 0 && strcmp(rest + 9, tree->overlay) == 0))
    return true;
  int end = 0;
  return tree->masks && sscanf(rest, "-%*[0-9]-%*[0-9].png%n", &end) == 0 && end > 0 && !rest[end];
}

struct removal {
  const struct tree *tree;
  const char *base;
};

static bool remove_if_ours(void *user, const char *folder, const char *name) {
  const struct removal *removal = user;
  return !belongs(removal->tree, removal->base, name) || remove_file(NULL, folder, name);
}

bool tree_remove(const struct tree *tree, const char *output) {
  char *folder = folder_of(tree, output);
  struct removal removal = {tree, base_of(output)};
  bool good = access(folder, F_OK) != 0 || each_file(folder, remove_if_ours, &removal);
  free(folder);
  return good;
}
