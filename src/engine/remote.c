/* Tasks in a worker process: the coordinator's end. It makes the square of an image that the network takes, in a file
 * in memory that both have mapped, or to travel with the task: of a photograph that is a small part. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/endpoint.h"
#include "engine/wire.h"
#include "image/image.h"
#include "image/resize.h"
#include "model/config.h"

extern char **environ;

#define SILENCE 120.0  /* seconds without a word after which a worker that has work is taken for dead */
#define LOOK_AGAIN 0.1 /* seconds between looks at whether the task is cancelled */

struct remote {
  struct runner base;
  struct endpoint end;
  uint8_t *square; /* of the file, or of the heap */
  size_t square_size;
};

/* ---------------------------------------------------------------------------- a process of our own */

static sam3_status spawn(struct endpoint *end, const char *program, int its_end, struct sam3_error *err) {
  if (!program)
    program = "/proc/self/exe";
  char name[] = "sam3", command[] = "worker", number[] = "3"; /* of the descriptor */
  pid_t process = 0;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none;
  sigemptyset(&none);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &none);
  /* Its own group: an interrupt from the terminal is the coordinator's to handle. */
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  posix_spawn_file_actions_adddup2(&actions, its_end, 3); /* the same number loses its close-on-exec flag, too */
  /* Who reads what the coordinator writes does not wait for a worker to end as well. */
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
  int problem = posix_spawn(&process, program, &actions, &attributes, (char *[]){name, command, number, NULL}, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (problem)
    return fail(err, SAM3_ERR_DEVICE, "a worker process (%s) could not be started: %s", program, strerror(problem));
  end->process = (int)process;
  end->child = true;
  snprintf(end->name, sizeof end->name, "worker process %d", end->process);
  return SAM3_OK;
}

sam3_status endpoint_spawn(const char *program, struct endpoint *end, struct sam3_error *err) {
  int ends[2];
  *end = (struct endpoint){.socket = -1, .file = -1};
  end->file = memfd_create("sam3-pixels", MFD_CLOEXEC);
  if (end->file < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    sam3_status status = fail(err, SAM3_ERR_DEVICE, "no socket for a worker process: %s", strerror(errno));
    endpoint_close(end);
    return status;
  }
  end->socket = ends[0];
  wire_limit(end->socket, WIRE_STALLED);
  sam3_status status = spawn(end, program, ends[1], err);
  close(ends[1]);
  if (status != SAM3_OK)
    endpoint_close(end);
  return status;
}

void endpoint_close(struct endpoint *end) {
  if (end->child) {                     /* before its socket ends, or it would break the split that the others are in */
    kill((pid_t)end->process, SIGKILL); /* it holds nothing that outlives it */
    while (waitpid((pid_t)end->process, NULL, 0) < 0 && errno == EINTR)
      ;
  }
  if (end->socket >= 0)
    close(end->socket);
  if (end->file >= 0)
    close(end->file);
  *end = (struct endpoint){.socket = -1, .file = -1};
}

/* ------------------------------------------------------------------------------------- any process */

static sam3_status lost(struct remote *r, struct sam3_error *err) {
  r->base.lost = true;
  return fail(err, SAM3_ERR_DEVICE, "%s ended unexpectedly", r->end.name);
}

/* Asks the process to open its session; waits until it has. */
static sam3_status greet(struct remote *r, const struct runner_options *options, struct sam3_error *err) {
  struct wire wire;
  wire_begin(&wire, WIRE_OPEN);
  wire_put_text(&wire, options->model_path);
  wire_put_text(&wire, options->session.device);
  wire_put_u64(&wire, options->session.dtype);
  wire_put_u64(&wire, options->cache_bytes);
  wire_put_u64(&wire, (uint64_t)options->ranks);
  wire_put_text(&wire, r->end.child ? NULL : options->description); /* it opens the same file, or one of its own */
  sam3_status status = wire_send(r->end.socket, &wire, r->end.file) ? SAM3_OK : lost(r, err);
  if (status == SAM3_OK && wire_receive(r->end.socket, &wire, SILENCE, NULL) != WIRE_RECEIVED)
    status = lost(r, err);
  if (status == SAM3_OK && wire.kind == WIRE_READY) {
    r->base.slots = (int)wire_get_u64(&wire);
    r->base.side = (int)wire_get_u64(&wire);
    r->base.memory = wire_get_u64(&wire);
    r->base.weights = wire_get_u64(&wire);
    r->base.split.activations = wire_get_u64(&wire);
    r->base.split.features = wire_get_u64(&wire);
    if (wire.failed || r->base.slots < 1 || r->base.slots > MAX_SLOTS || r->base.side < 1 ||
        r->base.side > CONFIG_MAX_IMAGE)
      status = lost(r, err);
  } else if (status == SAM3_OK) {
    struct task_report report;
    wire_get_report(&wire, &report);
    status = (sam3_status)wire_get_u64(&wire);
    char *message = wire_get_text(&wire);
    if (!message || status == SAM3_OK)
      status = lost(r, err);
    else
      status = fail(err, status, "%s%s%s", r->end.child ? "" : r->end.name, r->end.child ? "" : ": ", message);
    free(message);
  }
  wire_free(&wire);
  return status;
}

/* ---------------------------------------------------------------------------------------- a task */

/* Memory for the square: made when the first image comes. */
static sam3_status take_square(struct remote *r, struct sam3_error *err) {
  if (r->square)
    return SAM3_OK;
  const size_t size = (size_t)r->base.side * (size_t)r->base.side * 3;
  if (r->end.file < 0)
    r->square = mem_alloc(size);
  else if (ftruncate(r->end.file, (off_t)size) == 0)
    r->square = mem_map_shared(r->end.file, size);
  r->square_size = r->square ? size : 0;
  return r->square ? SAM3_OK : fail_memory(err, size, "the pixels of an image");
}

static void free_square(struct remote *r) {
  if (r->end.file < 0)
    free(r->square);
  else
    mem_free_pages(r->square, r->square_size);
}

static sam3_status make_square(struct remote *r, const struct task *task, double *seconds, struct sam3_error *err) {
  double begin = clock_seconds();
  TRY(take_square(r, err));
  TRY(resize_square(task->image, r->base.side, r->square, err));
  *seconds = clock_seconds() - begin;
  return SAM3_OK;
}

static bool send_task(struct remote *r, const struct task *task) {
  struct wire wire;
  wire_begin(&wire, WIRE_RUN);
  wire_put_u64(&wire, task->split);
  wire_put_u64(&wire, (uint64_t)task->slot);
  wire_put_u64(&wire, task->image ? (uint64_t)task->image->width : 0);
  wire_put_u64(&wire, task->image ? (uint64_t)task->image->height : 0);
  wire_put_f64(&wire, (double)task->threshold);
  wire_put_prompts(&wire, task->prompts, task->n_prompts);
  if (task->image && r->end.file < 0) {
    wire.tail = r->square;
    wire.tail_size = r->square_size;
  }
  bool sent = wire_send(r->end.socket, &wire, -1);
  wire_free(&wire);
  return sent;
}

/* A message that is its kind alone. */
static void send_word(struct remote *r, enum wire_kind kind) {
  struct wire wire;
  wire_begin(&wire, kind);
  wire_send(r->end.socket, &wire, -1);
}

/* The last message on a task, WIRE_DONE or WIRE_FAILED, in `wire`; false: the worker is gone. */
static bool await_answer(struct remote *r, const struct task *task, struct wire *wire) {
  const char *stage = "starting";
  double fraction = 0, heard = clock_seconds();
  for (bool cancelled = false;;) {
    enum wire_received received = wire_receive(r->end.socket, wire, LOOK_AGAIN, NULL);
    if (received == WIRE_GONE || clock_seconds() - heard > SILENCE)
      return false;
    if (received == WIRE_RECEIVED) {
      heard = clock_seconds();
      if (wire->kind != WIRE_PROGRESS)
        return true;
      char *name = wire_get_text(wire);
      stage = stage_constant(name ? name : "");
      fraction = wire_get_f64(wire);
      free(name);
    }
    if (!cancelled && task->progress && !task->progress(task->user, stage, fraction)) {
      cancelled = true;
      send_word(r, WIRE_CANCEL);
    }
  }
}

/* Results for each prompt, and masks in them unless another rank of a split has those. */
static bool answers(const struct sam3_results *results, const struct task *task) {
  if (!results || results->n_items != task->n_prompts)
    return false;
  for (size_t i = 0; i < results->n_items && !task->split; i++)
    for (size_t k = 0; k < results->items[i].n_detections; k++)
      if (results->items[i].detections[k].mask.n_counts == 0)
        return false;
  return true;
}

static sam3_status remote_run(struct runner *runner, const struct task *task, struct sam3_results **results,
                              struct task_report *report, struct sam3_error *err) {
  struct remote *r = (struct remote *)runner;
  struct wire wire = {0};
  *results = NULL;
  *report = (struct task_report){0};
  double resized = 0;
  if (task->image)
    TRY(make_square(r, task, &resized, err));
  if (!send_task(r, task) || !await_answer(r, task, &wire)) {
    wire_free(&wire);
    return lost(r, err);
  }
  wire_get_report(&wire, report);
  if (task->image)
    stage_add(report->stages, stage_constant("resize"), 1, resized);
  sam3_status status = SAM3_OK;
  if (wire.kind == WIRE_DONE) {
    *results = wire_get_results(&wire);
    if (!answers(*results, task)) {
      sam3_results_free(*results);
      *results = NULL;
      r->base.lost = true;
      status =
          fail(err, SAM3_ERR_DEVICE, "%s sent results that make no sense, or there is no memory for them", r->end.name);
    }
  } else {
    status = (sam3_status)wire_get_u64(&wire);
    char *message = wire_get_text(&wire);
    status = message && status != SAM3_OK ? fail(err, status, "%s", message) : lost(r, err);
    free(message);
  }
  wire_free(&wire);
  return status;
}

static sam3_status remote_join(struct runner *runner, struct split *split, int rank, struct sam3_error *err) {
  struct remote *r = (struct remote *)runner;
  struct wire wire;
  wire_begin(&wire, WIRE_JOIN);
  wire_put_u64(&wire, (uint64_t)rank);
  bool sent = wire_send(r->end.socket, &wire, split_descriptor(split));
  wire_free(&wire);
  return sent ? SAM3_OK : lost(r, err);
}

static bool remote_alive(struct runner *runner) {
  struct remote *r = (struct remote *)runner;
  struct pollfd end = {.fd = r->end.socket, .events = POLLRDHUP};
  return poll(&end, 1, 0) <= 0 || !(end.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void remote_close(struct runner *runner) {
  struct remote *r = (struct remote *)runner;
  if (!r->base.lost && !r->end.child)
    send_word(r, WIRE_CLOSE);
  free_square(r);
  endpoint_close(&r->end);
  free(r);
}

sam3_status remote_open(const struct endpoint *end, const struct runner_options *options, struct runner **runner,
                        struct sam3_error *err) {
  static const struct runner_ops ops = {remote_run, remote_join, remote_alive, remote_close};
  *runner = NULL;
  struct remote *r = mem_zeroed(1, sizeof *r);
  if (!r) {
    struct endpoint unused = *end;
    endpoint_close(&unused);
    return fail_memory(err, sizeof *r, "a worker");
  }
  r->base.ops = &ops;
  r->base.process = end->process;
  r->end = *end;
  sam3_status status = greet(r, options, err);
  if (status != SAM3_OK)
    remote_close(&r->base);
  else
    *runner = &r->base;
  return status;
}
