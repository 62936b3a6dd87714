/* Images through an engine, several at a time. Each of a few threads takes an image, reads it, has it segmented and
 * hands the results over; while it reads and writes, the devices work for the other threads. No more images are in
 * memory than there are threads. */
#ifndef SAM3_CLI_PIPELINE_H
#define SAM3_CLI_PIPELINE_H

#include "cli/cli.h"
#include "cli/prompts.h"

struct pipeline_item {
  size_t index;     /* in the order of `next`, from 0 */
  const char *path; /* of the file, set by `next` */
  void *data;       /* the caller's */
  struct sam3_error err;
  sam3_image *image; /* this and `results` are there when err.status is SAM3_OK; they are freed after `done` */
  struct sam3_results *results;
  double seconds; /* that a device took */
};

struct pipeline {
  sam3_engine *engine;
  const struct prompts *prompts;
  uint64_t max_pixels;
  size_t threads;
  bool ordered; /* `done` is called in the order of `next`, one at a time; otherwise by several threads at a time */
  void *user;
  /* The next image; false: there is none. One call at a time. */
  bool (*next)(void *user, struct pipeline_item *item);
  /* What became of it; false: no more are to be taken. */
  bool (*done)(void *user, struct pipeline_item *item);
  /* Now and then, in the caller's thread: the oldest image in hand (NULL: none), and its job (NULL: being read). */
  void (*tick)(void *user, const struct pipeline_item *oldest, const struct sam3_job_state *state);
  /* SIGINT or SIGTERM came. When this returns, the images in hand are cancelled, which `done` sees as
   * SAM3_ERR_CANCELLED; another signal then ends the program at once. */
  void (*interrupted)(void *user, int number);
};

/* Returns when all images are done. */
void pipeline_run(const struct pipeline *pipeline);

/* For signal handlers: true when a pipeline runs, and will see to it. */
bool pipeline_interrupt(int number);

/* What a process that a signal ends returns. */
int exit_code_of_signal(int number);

#endif
