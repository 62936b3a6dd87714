/* One COCO dataset of several images. */
#ifndef SAM3_CLI_COCO_H
#define SAM3_CLI_COCO_H

#include <jansson.h>

#include "cli/cli.h"

/* Adds the dataset of one image (sam3_results_format) to `dataset`, which may be NULL; returns the sum. All images have
 * the same prompts, so their categories are the same. Free with json_decref(). */
json_t *coco_add(json_t *dataset, const char *text);

/* The dataset of more images than memory holds: `each` hands over their documents, twice and in the same order, and is
 * false after complaining; so is this. Without a document nothing is written. */
bool coco_write(struct output *out,
                bool (*each)(void *user, bool (*take)(void *writer, const char *text), void *writer), void *user);

/* One line. Free with free(). */
char *coco_text(const json_t *dataset);

#endif
