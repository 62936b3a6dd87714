/* Tasks in a worker process: the coordinator's end. The process is the program `worker FD`; it ends when its socket
 * does. Pixels lie in a file in memory that both have mapped. */
#include <errno.h>
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
#include "engine/task.h"
#include "engine/wire.h"
#include "image/image.h"

extern char **environ;

#define SILENCE 120.0  /* seconds without a word after which a worker that has work is taken for dead */
#define LOOK_AGAIN 0.1 /* seconds between looks at whether the task is cancelled */

struct remote {
  struct runner base;
  pid_t process;
  int socket;
  int file; /* of pixels */
  uint8_t *pixels;
  size_t pixels_size;
};

static sam3_status lost(struct remote *r, struct sam3_error *err) {
  r->base.lost = true;
  return fail(err, SAM3_ERR_DEVICE, "worker process %d ended unexpectedly", (int)r->process);
}

/* ------------------------------------------------------------------------------------ the process */

static sam3_status spawn(struct remote *r, const char *program, int its_end, struct sam3_error *err) {
  if (!program)
    program = "/proc/self/exe";
  char number[16], name[] = "sam3", command[] = "worker";
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
  snprintf(number, sizeof number, "%d", 3);
  int problem =
      posix_spawn(&r->process, program, &actions, &attributes, (char *[]){name, command, number, NULL}, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  r->base.process = problem ? 0 : (int)r->process;
  return problem
             ? fail(err, SAM3_ERR_DEVICE, "a worker process (%s) could not be started: %s", program, strerror(problem))
             : SAM3_OK;
}

static sam3_status start(struct remote *r, const struct runner_options *options, struct sam3_error *err) {
  int ends[2];
  r->file = memfd_create("sam3-pixels", MFD_CLOEXEC);
  if (r->file < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail(err, SAM3_ERR_DEVICE, "no socket for a worker process: %s", strerror(errno));
  r->socket = ends[0];
  sam3_status status = spawn(r, options->program, ends[1], err);
  close(ends[1]);
  return status;
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
  sam3_status status = wire_send(r->socket, &wire, r->file) ? SAM3_OK : lost(r, err);
  if (status == SAM3_OK && wire_receive(r->socket, &wire, SILENCE, NULL) != WIRE_RECEIVED)
    status = lost(r, err);
  if (status == SAM3_OK && wire.kind == WIRE_READY) {
    r->base.slots = (int)wire_get_u64(&wire);
    r->base.memory = wire_get_u64(&wire);
    r->base.weights = wire_get_u64(&wire);
    r->base.split.activations = wire_get_u64(&wire);
    r->base.split.features = wire_get_u64(&wire);
    if (wire.failed || r->base.slots < 1)
      status = lost(r, err);
  } else if (status == SAM3_OK) {
    struct task_report report;
    wire_get_report(&wire, &report);
    status = (sam3_status)wire_get_u64(&wire);
    char *message = wire_get_text(&wire);
    status = message ? fail(err, status, "%s", message) : lost(r, err);
    free(message);
  }
  wire_free(&wire);
  return status;
}

/* ---------------------------------------------------------------------------------------- a task */

static sam3_status share_pixels(struct remote *r, const sam3_image *image, struct sam3_error *err) {
  size_t size = (size_t)image->width * (size_t)image->height * 3 + IMAGE_PADDING;
  if (size > r->pixels_size) {
    if (r->pixels)
      munmap(r->pixels, r->pixels_size);
    r->pixels = NULL;
    r->pixels_size = 0;
    void *pixels = MAP_FAILED;
    if (ftruncate(r->file, (off_t)size) == 0)
      pixels = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->file, 0);
    if (pixels == MAP_FAILED)
      return fail_memory(err, size, "the pixels of an image");
    r->pixels = pixels;
    r->pixels_size = size;
  }
  memcpy(r->pixels, image->pixels, size);
  return SAM3_OK;
}

static bool send_task(struct remote *r, const struct task *task) {
  struct wire wire;
  wire_begin(&wire, WIRE_RUN);
  wire_put_u64(&wire, task->split);
  wire_put_u64(&wire, (uint64_t)task->slot);
  wire_put_u64(&wire, task->image ? (uint64_t)task->image->width : 0);
  wire_put_u64(&wire, task->image ? (uint64_t)task->image->height : 0);
  wire_put_u64(&wire, r->pixels_size);
  wire_put_f64(&wire, (double)task->threshold);
  wire_put_prompts(&wire, task->prompts, task->n_prompts);
  bool sent = wire_send(r->socket, &wire, -1);
  wire_free(&wire);
  return sent;
}

static void send_cancel(struct remote *r) {
  struct wire wire;
  wire_begin(&wire, WIRE_CANCEL);
  wire_send(r->socket, &wire, -1);
}

/* The last message on a task, WIRE_DONE or WIRE_FAILED, in `wire`; false: the worker is gone. */
static bool await_answer(struct remote *r, const struct task *task, struct wire *wire) {
  const char *stage = "starting";
  double fraction = 0, heard = clock_seconds();
  for (bool cancelled = false;;) {
    enum wire_received received = wire_receive(r->socket, wire, LOOK_AGAIN, NULL);
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
      send_cancel(r);
    }
  }
}

static sam3_status remote_run(struct runner *runner, const struct task *task, struct sam3_results **results,
                              struct task_report *report, struct sam3_error *err) {
  struct remote *r = (struct remote *)runner;
  struct wire wire = {0};
  *results = NULL;
  *report = (struct task_report){0};
  if (task->image)
    TRY(share_pixels(r, task->image, err));
  if (!send_task(r, task) || !await_answer(r, task, &wire)) {
    wire_free(&wire);
    return lost(r, err);
  }
  wire_get_report(&wire, report);
  sam3_status status = SAM3_OK;
  if (wire.kind == WIRE_DONE) {
    *results = wire_get_results(&wire);
    if (!*results)
      status = fail_memory(err, wire.size, "the results of a worker process");
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
  bool sent = wire_send(r->socket, &wire, split_descriptor(split));
  wire_free(&wire);
  return sent ? SAM3_OK : lost(r, err);
}

static bool remote_alive(struct runner *runner) {
  struct remote *r = (struct remote *)runner;
  struct pollfd end = {.fd = r->socket, .events = POLLRDHUP};
  return poll(&end, 1, 0) <= 0 || !(end.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void remote_close(struct runner *runner) {
  struct remote *r = (struct remote *)runner;
  if (r->socket >= 0)
    close(r->socket);
  if (r->file >= 0)
    close(r->file);
  if (r->pixels)
    munmap(r->pixels, r->pixels_size);
  if (r->process > 0) {
    kill(r->process, SIGKILL); /* it holds nothing that outlives it */
    while (waitpid(r->process, NULL, 0) < 0 && errno == EINTR)
      ;
  }
  free(r);
}

sam3_status remote_open(const struct runner_options *options, struct runner **runner, struct sam3_error *err) {
  static const struct runner_ops ops = {remote_run, remote_join, remote_alive, remote_close};
  *runner = NULL;
  struct remote *r = mem_zeroed(1, sizeof *r);
  if (!r)
    return fail_memory(err, sizeof *r, "a worker");
  r->base.ops = &ops;
  r->socket = r->file = -1;
  sam3_status status = start(r, options, err);
  if (status == SAM3_OK)
    status = greet(r, options, err);
  if (status != SAM3_OK)
    remote_close(&r->base);
  else
    *runner = &r->base;
  return status;
}
