/* What a worker is asked to do, and who does it. */
#ifndef SAM3_ENGINE_TASK_H
#define SAM3_ENGINE_TASK_H

#include "engine/split.h"

/* Encoded images that a worker, or a split, keeps at most, however small they are. */
#define MAX_SLOTS 64

/* Prompts on an image that lies, or shall lie, encoded in a slot: one of the worker's own, or, when all workers do the
 * task together, one of those that they share. */
struct task {
  bool split;
  int slot;
  const sam3_image *image; /* to be encoded into the slot first; NULL: it is there */
  const uint8_t *square;   /* the image as the network takes it; NULL: whoever encodes it resizes it */
  const struct sam3_prompt *prompts;
  size_t n_prompts;
  float threshold;
  /* Told between stages how much of the task is done; false: stop. */
  bool (*progress)(void *user, const char *stage, double fraction);
  void *user;
};

/* What came of it beside the results. */
struct task_report {
  bool encoded;    /* the slot holds the image */
  uint64_t memory; /* bytes that the worker has taken beyond the mapped weights */
  struct sam3_stage_time stages[SAM3_MAX_STAGES];
};

/* Does tasks, one at a time: a session of this process (local.c) or a worker process (remote.c, endpoint.h). */
struct runner {
  const struct runner_ops *ops;
  int slots;
  int process; /* its id; 0: this one */
  int side;    /* of the square that the network takes an image as, in pixels */
  uint64_t memory, weights;
  struct split_size split; /* what a split over runner_options.ranks needs */
  bool lost;               /* the process is gone: run() failed for that, not for the task */
};

struct runner_ops {
  sam3_status (*run)(struct runner *runner, const struct task *task, struct sam3_results **results,
                     struct task_report *report, struct sam3_error *err);
  /* Makes it a rank of the split, in place of one before, for tasks that all ranks do together. The split is not freed
   * before the runner has joined another or is closed. */
  sam3_status (*join)(struct runner *runner, struct split *split, int rank, struct sam3_error *err);
  /* False: the process is gone. */
  bool (*alive)(struct runner *runner);
  void (*close)(struct runner *runner);
};

struct runner_options {
  struct sam3_session_options session;
  uint64_t cache_bytes;    /* of encoded images */
  int ranks;               /* of the split that it will join; 0: none */
  const char *model_path;  /* for processes, as is */
  const char *description; /* of the model */
};

sam3_status local_open(sam3_model *model, const struct runner_options *options, struct runner **runner,
                       struct sam3_error *err);

/* The worker's end (process.c): opens what the coordinator says on `socket` and does its tasks until that is gone. */
struct process_options {
  const char *model_path, *device; /* NULL: the coordinator says */
  bool told;                       /* of its end by the coordinator: one that is gone without a word is an error */
};
sam3_status process_serve(int socket, const struct process_options *options, struct sam3_error *err);

/* Encoded images of `size` bytes that are kept in `bytes`: one at least. */
int slots_in(uint64_t bytes, uint64_t size);

/* The constant that equals `stage`; "other" when there is none. */
const char *stage_constant(const char *stage);
/* Adds to the stage's time; a table that is full drops it. */
void stage_add(struct sam3_stage_time stages[SAM3_MAX_STAGES], const char *stage, uint64_t count, double seconds);

/* Seconds of the monotonic clock. */
double clock_seconds(void);

/* ---- prompts (prompts.c) ---- */

/* What is wrong with them on an image of this size; the message counts prompts from 0. */
sam3_status prompts_check(const struct sam3_prompt *prompts, size_t n, float threshold, int width, int height,
                          struct sam3_error *err);
/* A deep copy; free with prompts_free. NULL when there is no memory. */
struct sam3_prompt *prompts_copy(const struct sam3_prompt *prompts, size_t n);
void prompts_free(struct sam3_prompt *prompts, size_t n);

#endif
