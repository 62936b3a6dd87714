/* A run of sam3 batch. */
#ifndef SAM3_CLI_BATCH_H
#define SAM3_CLI_BATCH_H

#include <pthread.h>

#include "cli/inputs.h"
#include "cli/journal.h"
#include "cli/pipeline.h"
#include "cli/tree.h"

struct batch {
  struct model_flags model;
  struct engine_flags engine_flags;
  struct prompts prompts;
  struct tree tree;
  const char **arguments; /* the inputs; a list is "@FILE" */
  size_t n_arguments;
  bool keep_ending, restart, retry_failed;
  uint64_t max_pixels;
  size_t workers;

  struct inputs inputs;
  struct journal *journal;
  sam3_engine *engine;

  /* While it runs. */
  struct journal_counts before;
  pthread_mutex_t lock; /* of the next three */
  size_t done, failed;
  bool broken; /* for a reason that is not an image's */
  int signal;  /* that came */
  double start;
};

/* Does what the journal has left, with the model of that path: an exit code, EXIT_DONE also when images failed or a
 * signal came. */
int batch_images(struct batch *run, const char *model);

#endif
