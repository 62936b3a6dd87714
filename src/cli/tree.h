/* The results of a batch: a tree of files that mirrors its inputs. The files of an image are written into a folder of
 * their own and moved to their places when all are there; what a killed run left is removed by the next. */
#ifndef SAM3_CLI_TREE_H
#define SAM3_CLI_TREE_H

#include "cli/cli.h"

struct tree {
  const char *root;    /* -o */
  char *real;          /* the same, absolute */
  char *unfinished;    /* the folder of what is not finished */
  sam3_format format;  /* COCO: no file for an image */
  const char *overlay; /* "png", "jpg", or NULL: none */
  bool masks;
};

/* Makes the folders, empties `unfinished`. This and the next two are false after complaining. */
bool tree_open(struct tree *tree);
/* The files of an image: `output` is their path below the root without what follows the name; `name` is what the
 * documents call the image; `number` is no other image's at the time. `document`: COCO's text, free with free(), or
 * NULL. */
bool tree_write(const struct tree *tree, size_t number, const char *output, const char *name, const char *model,
                const struct sam3_results *results, const sam3_image *image, char **document);
/* Removes the files that an image had. */
bool tree_remove(const struct tree *tree, const char *output);
void tree_close(struct tree *tree);

#endif
