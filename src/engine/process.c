/* Tasks in a worker process: the worker's end. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/task.h"
#include "engine/wire.h"
#include "image/image.h"

#define FOREVER 1e6     /* seconds, about 11 days: then it waits again */
#define TELL_AFTER 0.02 /* seconds between words on the same stage */

struct process {
  const struct process_options *options;
  int socket, file; /* -1: pixels come with the task */
  sam3_model *model;
  struct runner *runner;
  struct split *split;
  uint8_t *square;   /* of the file */
  const char *stage; /* last told */
  double told;
  bool gone;   /* the coordinator */
  bool closed; /* it said so before */
};

static sam3_status broken(struct sam3_error *err) {
  return fail(err, SAM3_ERR_FORMAT, "the coordinator sent a message that makes no sense");
}

static bool answer(struct process *p, struct wire *wire) {
  bool sent = wire_send(p->socket, wire, -1);
  wire_free(wire);
  return sent;
}

static bool answer_failed(struct process *p, const struct task_report *report, const struct sam3_error *failure) {
  struct wire wire;
  wire_begin(&wire, WIRE_FAILED);
  wire_put_report(&wire, report);
  wire_put_u64(&wire, failure->status);
  wire_put_text(&wire, failure->message);
  return answer(p, &wire);
}

static bool on_progress(void *user, const char *stage, double fraction) {
  struct process *p = user;
  double now = clock_seconds();
  struct wire wire = {0};
  if (stage != p->stage || now - p->told > TELL_AFTER) {
    p->stage = stage;
    p->told = now;
    wire_begin(&wire, WIRE_PROGRESS);
    wire_put_text(&wire, stage);
    wire_put_f64(&wire, fraction);
    p->gone = !answer(p, &wire);
  }
  enum wire_received received = p->gone ? WIRE_GONE : wire_receive(p->socket, &wire, 0, NULL);
  wire_free(&wire); /* while a task runs, only WIRE_CANCEL comes */
  p->gone = received == WIRE_GONE;
  return received == WIRE_NOTHING;
}

static size_t square_size(const struct process *p) {
  return (size_t)p->runner->side * (size_t)p->runner->side * 3;
}

/* The square of the image in hand, in the file that the coordinator has filled, or behind the task. */
static const uint8_t *find_square(struct process *p, struct wire *wire) {
  if (p->file < 0)
    return wire_get(wire, square_size(p));
  if (!p->square)
    p->square = mem_map_shared(p->file, square_size(p));
  return p->square;
}

static sam3_status do_task(struct process *p, struct wire *wire, struct sam3_results **results,
                           struct task_report *report, struct sam3_error *err) {
  struct task task = {.progress = on_progress, .user = p};
  sam3_image image = {0};
  task.split = wire_get_u64(wire) != 0;
  task.slot = (int)wire_get_u64(wire);
  image.width = (int)wire_get_u64(wire);
  image.height = (int)wire_get_u64(wire);
  task.threshold = (float)wire_get_f64(wire);
  struct sam3_prompt *prompts = wire_get_prompts(wire, &task.n_prompts);
  task.prompts = prompts;
  task.square = image.width ? find_square(p, wire) : NULL;
  task.image = image.width ? &image : NULL;
  sam3_status status;
  if (!prompts || wire->failed || task.slot < 0 || task.slot >= (task.split ? MAX_SLOTS : p->runner->slots) ||
      (task.split && !p->split) || image.width < 0 || image.height < 0 || !image.width != !image.height)
    status = broken(err);
  else if (task.image && !task.square)
    status = fail_memory(err, square_size(p), "the pixels of an image");
  else
    status = p->runner->ops->run(p->runner, &task, results, report, err);
  prompts_free(prompts, task.n_prompts);
  return status;
}

/* What is wrong shows when a task of the split comes: there is none then. */
static void join(struct process *p, struct wire *wire, int file) {
  uint64_t rank = wire_get_u64(wire);
  struct split *old = p->split;
  struct sam3_error err;
  p->split = NULL;
  if (file >= 0)
    split_attach(file, &p->split, &err);
  p->runner->ops->join(p->runner, p->split, (int)rank, &err);
  split_free(old);
}

/* Does what the message asks and answers; false: the coordinator is gone. */
static bool serve(struct process *p, struct wire *wire) {
  struct sam3_results *results = NULL;
  struct task_report report = {0};
  struct sam3_error failure;
  if (wire->kind == WIRE_CANCEL) /* came too late: the task is done */
    return true;
  if (wire->kind == WIRE_CLOSE) {
    p->closed = true;
    return false;
  }
  p->stage = NULL;
  sam3_status status = wire->kind == WIRE_RUN ? do_task(p, wire, &results, &report, &failure) : broken(&failure);
  if (p->gone)
    return false;
  if (status != SAM3_OK)
    return answer_failed(p, &report, &failure);
  struct wire done;
  wire_begin(&done, WIRE_DONE);
  wire_put_report(&done, &report);
  wire_put_results(&done, results);
  sam3_results_free(results);
  if (done.failed) {
    wire_free(&done);
    fail_memory(&failure, 0, "the results");
    return answer_failed(p, &report, &failure);
  }
  return answer(p, &done);
}

static sam3_status open_session(struct process *p, struct wire *wire, struct sam3_error *err) {
  char *path = wire_get_text(wire), *device = wire_get_text(wire);
  struct runner_options options = {.session.device = p->options->device ? p->options->device : device};
  options.session.dtype = (sam3_dtype)wire_get_u64(wire);
  options.cache_bytes = wire_get_u64(wire);
  options.ranks = (int)wire_get_u64(wire);
  char *description = wire_get_text(wire);
  const char *own = p->options->model_path ? p->options->model_path : path;
  sam3_status status = wire->failed || wire->kind != WIRE_OPEN || !own ? broken(err) : SAM3_OK;
  if (status == SAM3_OK)
    status = sam3_model_open(own, &p->model, err);
  if (status == SAM3_OK && description && strcmp(description, sam3_model_describe(p->model)) != 0)
    status =
        fail(err, SAM3_ERR_ARGUMENT, "the model %s is not the one of rank 0: name, format and tensors must agree", own);
  if (status == SAM3_OK)
    status = local_open(p->model, &options, &p->runner, err);
  free(path);
  free(device);
  free(description);
  return status;
}

static sam3_status greet(struct process *p, struct wire *wire, struct sam3_error *err) {
  if (wire_receive(p->socket, wire, FOREVER, &p->file) != WIRE_RECEIVED)
    return p->options->told ? fail(err, SAM3_ERR_IO, "rank 0 went away before all had met")
                            : fail(err, SAM3_ERR_IO,
                                   "no coordinator speaks on descriptor %d: sam3 starts its workers itself", p->socket);
  sam3_status status = open_session(p, wire, err);
  if (status != SAM3_OK) {
    static const struct task_report nothing;
    struct sam3_error failure = *err;
    answer_failed(p, &nothing, &failure);
    return status;
  }
  struct wire ready;
  wire_begin(&ready, WIRE_READY);
  wire_put_u64(&ready, (uint64_t)p->runner->slots);
  wire_put_u64(&ready, (uint64_t)p->runner->side);
  wire_put_u64(&ready, p->runner->memory);
  wire_put_u64(&ready, p->runner->weights);
  wire_put_u64(&ready, p->runner->split.activations);
  wire_put_u64(&ready, p->runner->split.features);
  p->gone = !answer(p, &ready);
  return SAM3_OK;
}

sam3_status process_serve(int socket, const struct process_options *options, struct sam3_error *err) {
  struct sam3_error unused;
  struct process p = {.options = options, .socket = socket, .file = -1};
  struct wire wire = {0};
  sam3_status status = greet(&p, &wire, err ? err : &unused);
  while (status == SAM3_OK && !p.gone) {
    int file = -1;
    enum wire_received received = wire_receive(p.socket, &wire, FOREVER, &file);
    if (received == WIRE_RECEIVED && wire.kind == WIRE_JOIN)
      join(&p, &wire, file);
    else
      p.gone = received == WIRE_GONE || (received == WIRE_RECEIVED && !serve(&p, &wire));
    if (file >= 0)
      close(file);
  }
  if (status == SAM3_OK && options->told && !p.closed)
    status = fail(err, SAM3_ERR_IO, "rank 0 ended unexpectedly");
  wire_free(&wire);
  if (p.split) /* others may wait for this rank in a task that the coordinator did not live to send here */
    split_break(p.split, SAM3_ERR_DEVICE, "the coordinator is gone");
  if (p.square)
    mem_free_pages(p.square, square_size(&p));
  if (p.runner)
    p.runner->ops->close(p.runner);
  split_free(p.split);
  sam3_model_close(p.model);
  if (p.file >= 0)
    close(p.file);
  return status;
}

sam3_status sam3_worker_run(int fd, struct sam3_error *err) {
  static const struct process_options options;
  return process_serve(fd, &options, err);
}
