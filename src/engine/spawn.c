/* A worker process that this process starts. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/endpoint.h"

extern char **environ;

static sam3_status spawn(struct endpoint *end, const char *program, int its_end, struct sam3_error *err) {
  if (!program)
    program = "/proc/self/exe";
  char number[16], name[] = "sam3", command[] = "worker";
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
  snprintf(number, sizeof number, "%d", 3);
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
