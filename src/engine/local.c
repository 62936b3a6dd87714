/* Tasks on a session of this process. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/session.h"
#include "engine/task.h"

/* An encoding's share of a task's progress, in prompts. */
#define ENCODE_WEIGHT 12

struct local {
  struct runner base;
  sam3_session *session;
  sam3_features *slots[MAX_SLOTS]; /* NULL: not used yet */
  struct split *split;             /* NULL: in none */
  int rank;
  sam3_features *split_slots[MAX_SLOTS];
  uint64_t session_bytes, slot_bytes;

  /* The task in hand: which part of it runs, and since when its stage does. */
  const struct task *task;
  struct task_report *report;
  double begin, size;
  const char *stage;
  double since;
};

double clock_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *stage_constant(const char *stage) {
  static const char *const stages[] = {"resize",   "vision", "neck",    "begin", "text",
                                       "geometry", "fusion", "decoder", "masks"};
  for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
    if (strcmp(stages[i], stage) == 0)
      return stages[i];
  return "other";
}

void stage_add(struct sam3_stage_time stages[SAM3_MAX_STAGES], const char *stage, uint64_t count, double seconds) {
  for (int i = 0; i < SAM3_MAX_STAGES; i++) {
    if (stages[i].stage && strcmp(stages[i].stage, stage) != 0)
      continue;
    stages[i].stage = stage;
    stages[i].count += count;
    stages[i].seconds += seconds;
    return;
  }
}

int slots_in(uint64_t bytes, uint64_t size) {
  uint64_t slots = bytes / size;
  return slots < 1 ? 1 : slots > MAX_SLOTS ? MAX_SLOTS : (int)slots;
}

/* The stage in hand is over, `next` (or NULL) begins. */
static void next_stage(struct local *local, const char *next) {
  double now = clock_seconds();
  if (local->stage)
    stage_add(local->report->stages, local->stage, next != local->stage, now - local->since);
  local->stage = next;
  local->since = now;
}

static bool on_progress(void *user, const char *stage, double fraction) {
  struct local *local = user;
  const struct task *task = local->task;
  next_stage(local, stage_constant(stage));
  return !task->progress || task->progress(task->user, local->stage, local->begin + local->size * fraction);
}

static sam3_status run_task(struct local *local, const struct task *task, struct sam3_results **results,
                            struct sam3_error *err) {
  sam3_features **slot = task->split ? &local->split_slots[task->slot] : &local->slots[task->slot];
  if (!*slot && task->split)
    TRY(split_features(local->split, local->rank, task->slot, local->session, slot, err));
  else if (!*slot)
    TRY(sam3_features_create(local->session, slot, err));
  double weight = task->image ? ENCODE_WEIGHT : 0, all = weight + (double)task->n_prompts;
  if (task->image) {
    local->begin = 0;
    local->size = weight / all;
    next_stage(local, stage_constant(task->square ? "vision" : "resize"));
    TRY(session_encode(local->session, task->image, task->square, *slot, err));
    local->report->encoded = true;
  }
  local->begin = all > 0 ? weight / all : 0;
  local->size = 1 - local->begin;
  struct sam3_segment_options options = {.threshold = task->threshold};
  return sam3_segment(local->session, *slot, task->prompts, task->n_prompts, &options, results, err);
}

static sam3_status local_run(struct runner *runner, const struct task *task, struct sam3_results **results,
                             struct task_report *report, struct sam3_error *err) {
  struct local *local = (struct local *)runner;
  *report = (struct task_report){.encoded = !task->image};
  *results = NULL;
  local->task = task;
  local->report = report;
  local->stage = NULL;
  sam3_status status = run_task(local, task, results, err);
  next_stage(local, NULL);
  report->memory = local->session_bytes;
  for (int i = 0; i < runner->slots; i++)
    report->memory += local->slots[i] ? local->slot_bytes : 0;
  return status;
}

static void free_slots(sam3_features *slots[MAX_SLOTS]) {
  for (int i = 0; i < MAX_SLOTS; i++) {
    sam3_features_free(slots[i]);
    slots[i] = NULL;
  }
}

static sam3_status local_join(struct runner *runner, struct split *split, int rank, struct sam3_error *err) {
  struct local *local = (struct local *)runner;
  (void)err;
  free_slots(local->split_slots);
  local->split = split;
  local->rank = rank;
  return SAM3_OK;
}

static bool local_alive(struct runner *runner) {
  (void)runner;
  return true;
}

static void local_close(struct runner *runner) {
  struct local *local = (struct local *)runner;
  free_slots(local->slots);
  free_slots(local->split_slots);
  sam3_session_close(local->session);
  free(local);
}

sam3_status local_open(sam3_model *model, const struct runner_options *options, struct runner **runner,
                       struct sam3_error *err) {
  static const struct runner_ops ops = {local_run, local_join, local_alive, local_close};
  *runner = NULL;
  struct local *local = mem_zeroed(1, sizeof *local);
  if (!local)
    return fail_memory(err, sizeof *local, "a worker");
  local->base.ops = &ops;
  sam3_status status = sam3_session_open(model, &options->session, &local->session, err);
  if (status == SAM3_OK && options->ranks)
    status = split_measure(local->session, options->ranks, &local->base.split, err);
  if (status != SAM3_OK) {
    local_close(&local->base);
    return status;
  }
  struct sam3_memory memory = sam3_session_memory(local->session);
  local->base.side = model->network.config.vision.image;
  local->base.slots = slots_in(options->cache_bytes, memory.features);
  local->base.weights = memory.weights;
  local->base.memory = local->session_bytes = memory.prepared + memory.activations + memory.workspace;
  local->slot_bytes = memory.features;
  sam3_session_on_progress(local->session, on_progress, local);
  local->session->dev->ops->bind_thread(local->session->dev); /* this one, which will run the tasks */
  *runner = &local->base;
  return SAM3_OK;
}
