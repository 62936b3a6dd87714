/* Where the results of `sam3 segment` go. */
#ifndef SAM3_CLI_SINKS_H
#define SAM3_CLI_SINKS_H

#include <jansson.h>

#include "cli/cli.h"

/* Results as text: one document an image, each into its own file or one after the other into one. */
struct sink {
  const char *flag, *pattern;
  sam3_format format;
  bool each;             /* a file for each image */
  struct output *stream; /* of all images */
  json_t *dataset;       /* COCO's of all images, written at the end */
};

struct sinks {
  const char *json, *output, *overlay, *masks; /* the values of these flags */
  sam3_format format;
  bool format_given;

  struct sink items[2];
  size_t count;
};

/* Makes sinks of the flags; a combination that cannot be ends the program as wrong usage. */
void sinks_choose(struct sinks *sinks, size_t n_images, struct argp_state *state);
/* Every file that will be written has one source and a directory, which is made: an exit code. `prompt_file`, or NULL,
 * is read as well. */
int sinks_check(const struct sinks *sinks, const char *const *images, size_t n_images, const char *prompt_file);
/* Opens the files that all images share: a place that cannot be written shows before the work. The rest of these are
 * false after complaining. */
bool sinks_open(struct sinks *sinks);
bool sinks_write(struct sinks *sinks, const struct sam3_results *results, const sam3_image *image, const char *model,
                 const char *name);
bool sinks_close(struct sinks *sinks, bool keep);

#endif
