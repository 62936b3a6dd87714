/* sam3_launch_serve: a rank other than 0 goes to rank 0 and works for it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/hello.h"
#include "engine/task.h"

#define PAUSE 0.1    /* seconds between tries, while rank 0 is not there yet */
#define PATIENCE 1.0 /* seconds that even the last one has, for what it says is what people read */

/* Until `deadline`; false: nothing came, errno says why. */
static bool ready(int socket, short events, double deadline) {
  struct pollfd one = {.fd = socket, .events = events};
  for (;;) {
    double left = deadline - clock_seconds();
    int n = poll(&one, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    if (n > 0)
      return true;
    if (n == 0 || errno != EINTR) {
      errno = n ? errno : ETIMEDOUT;
      return false;
    }
  }
}

/* A connected socket that does not block; -1: errno says why. */
static int connect_to(const struct addrinfo *to, double deadline) {
  int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -1;
  int problem = connect(fd, to->ai_addr, to->ai_addrlen) == 0 ? 0 : errno;
  if (problem == EINPROGRESS) {
    socklen_t size = sizeof problem;
    if (!ready(fd, POLLOUT, deadline))
      problem = errno;
    else
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
  }
  struct sockaddr_storage own, other;
  socklen_t own_size = sizeof own, other_size = sizeof other;
  /* A port in the ephemeral range on which nobody listens may connect to itself. */
  if (!problem && getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
      getpeername(fd, (struct sockaddr *)&other, &other_size) == 0 && own_size == other_size &&
      memcmp(&own, &other, own_size) == 0)
    problem = ECONNREFUSED;
  if (!problem)
    return fd;
  close(fd);
  errno = problem;
  return -1;
}

static bool receive_welcome(int socket, struct welcome *welcome, double deadline) {
  size_t got = 0;
  while (got < sizeof *welcome) {
    if (!ready(socket, POLLIN, deadline))
      return false;
    ssize_t n = recv(socket, (char *)welcome + got, sizeof *welcome - got, 0);
    if (n == 0)
      errno = ECONNRESET;
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
      return false;
    got += n > 0 ? (size_t)n : 0;
  }
  welcome->reason[sizeof welcome->reason - 1] = '\0';
  return true;
}

/* SAM3_OK: rank 0 has said yes. SAM3_ERR_BUSY: worth another try. `*socket` is to be closed in any case. */
static sam3_status try_address(const struct addrinfo *to, const struct hello *hello, double deadline, int *socket,
                               struct sam3_error *err) {
  struct welcome welcome;
  char place[HELLO_ADDRESS];
  hello_address(to->ai_addr, to->ai_addrlen, place);
  *socket = connect_to(to, deadline);
  if (*socket < 0)
    return fail(err, SAM3_ERR_BUSY, "%s: %s", place, strerror(errno));
  if (send(*socket, hello, sizeof *hello, MSG_NOSIGNAL) != (ssize_t)sizeof *hello ||
      !receive_welcome(*socket, &welcome, deadline))
    return fail(err, SAM3_ERR_BUSY, "%s does not answer as rank 0 does: %s", place, strerror(errno));
  if (!hello_ours(&welcome.prologue))
    return fail(err, SAM3_ERR_BUSY, "%s is something else", place);
  const char *problem = hello_problem(&welcome.prologue);
  if (problem)
    return fail(err, SAM3_ERR_UNSUPPORTED, "rank 0 at %s has another %s: it is sam3 %.31s, this is " SAM3_VERSION,
                place, problem, welcome.prologue.version);
  if (welcome.status != SAM3_OK)
    return fail(err, welcome.status == SAM3_ERR_BUSY ? SAM3_ERR_BUSY : SAM3_ERR_ARGUMENT, "%s refuses rank %d: %s",
                place, (int)hello->rank, welcome.reason);
  hello_done(*socket);
  return SAM3_OK;
}

/* Tries every address in turn until one is right, one is wrong, or the time is over. */
static sam3_status join(const struct sam3_launch *launch, const struct hello *hello, int *socket,
                        struct sam3_error *err) {
  const double begin = clock_seconds();
  for (;;) {
    struct addrinfo *list = NULL;
    struct sam3_error why;
    sam3_status status = hello_resolve(launch, &list, &why); /* a name may be made known late, too */
    if (status == SAM3_ERR_IO)
      status = SAM3_ERR_BUSY;
    for (const struct addrinfo *at = list; at; at = at->ai_next) {
      double now = clock_seconds(), left = begin + launch->seconds - now;
      double patience = left > HELLO_SECONDS ? HELLO_SECONDS : left < PATIENCE ? PATIENCE : left;
      status = try_address(at, hello, now + patience, socket, &why);
      if (status != SAM3_ERR_BUSY)
        break;
      if (*socket >= 0)
        close(*socket);
      *socket = -1;
    }
    if (list)
      freeaddrinfo(list);
    if (status == SAM3_OK)
      return SAM3_OK;
    double passed = clock_seconds() - begin;
    if (status != SAM3_ERR_BUSY)
      return fail(err, status, "%.400s", why.message);
    if (passed >= launch->seconds)
      return fail(err, SAM3_ERR_IO, "rank %d did not find rank 0 within %.0f s: %.350s", launch->rank, passed,
                  why.message);
    poll(NULL, 0, (int)(PAUSE * 1000));
  }
}

sam3_status sam3_launch_serve(const struct sam3_launch *launch, const char *model_path,
                              const struct sam3_engine_options *options, struct sam3_error *err) {
  if (launch->rank < 1 || launch->rank >= launch->size)
    return fail(err, SAM3_ERR_ARGUMENT, "rank %d of %d serves nobody: ranks from 1 do", launch->rank, launch->size);
  if (options)
    TRY(launch_check(options, err));
  struct hello hello = {.prologue = hello_prologue(), .rank = launch->rank, .size = launch->size};
  hello.process = (int32_t)getpid();
  gethostname(hello.host, sizeof hello.host - 1);
  TRY(sam3_launch_device(launch, options ? options->devices : NULL, options ? options->n_devices : 0, hello.device,
                         err));
  memcpy(hello.run, launch->run, sizeof hello.run);
  memcpy(hello.secret, launch->secret, sizeof hello.secret);
  struct process_options process = {.model_path = model_path, .device = hello.device, .told = true};
  int socket = -1;
  sam3_status status = join(launch, &hello, &socket, err);
  if (status == SAM3_OK)
    status = process_serve(socket, &process, err);
  if (socket >= 0)
    close(socket);
  return status;
}
