/* The images that a batch is about: folders, files, patterns, lists. */
#ifndef SAM3_CLI_INPUTS_H
#define SAM3_CLI_INPUTS_H

#include <sys/stat.h>

#include "cli/cli.h"

struct inputs {
  struct input {
    char *path; /* absolute */
    bool folder;
  } * items;
  size_t count;
  char *root; /* the deepest folder that holds all; images are named by their path below it. NULL: no inputs */
};

/* A folder, a file, a pattern, or @LIST. False after complaining about one that is not there. */
bool inputs_add(struct inputs *inputs, const char *argument);
/* A file ("-": standard input) of folders and files, one a line; those that are not there are taken for images, whose
 * reading will fail. */
bool inputs_add_list(struct inputs *inputs, const char *list);

/* Calls `found` for every image: the files that were named, and in folders what ends as an image does and is not
 * hidden; links are followed. Folder `skip` is left out. `status` is NULL for what is not there. False after
 * complaining, or when `found` was. */
bool inputs_scan(const struct inputs *inputs, const char *skip,
                 bool (*found)(void *user, const char *name, const struct stat *status), void *user);
void inputs_free(struct inputs *inputs);

#endif
