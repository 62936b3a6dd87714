#include "engine/meeting.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/port.h"
#include "engine/hello.h"

enum { GUESTS = 64 }; /* connections without a whole hello; one more drops the oldest */

/* Somebody who has connected. */
struct guest {
  int socket; /* -1: nobody */
  double since;
  size_t got;
  struct hello hello;
  char from[HELLO_ADDRESS];
};

/* A rank's. */
struct seat {
  struct endpoint end; /* socket -1: has not come, or was taken */
  bool taken;          /* somebody talks to it */
};

struct meeting {
  struct sam3_launch launch;
  char host[64], place[HELLO_ADDRESS];
  char refused[256]; /* the last one that was no stranger, and why */
  int listener, bell;
  pthread_t thread;
  bool has_thread;
  struct guest guests[GUESTS]; /* the thread's alone */

  pthread_mutex_t lock;
  pthread_cond_t came;
  bool ending;
  struct seat *seats; /* [size] */
};

/* ----------------------------------------------------------------------------------------- hellos */

static void drop(struct guest *guest) {
  if (guest->socket >= 0)
    close(guest->socket);
  guest->socket = -1;
}

/* The secrets are compared in a time that does not tell how much of them is the same. */
static bool same_secret(const char *a, const char *b, size_t size) {
  volatile unsigned char difference = 0;
  for (size_t i = 0; i < size; i++)
    difference |= (unsigned char)(a[i] ^ b[i]);
  return difference == 0;
}

static bool gone(int socket) {
  struct pollfd end = {.fd = socket, .events = POLLRDHUP};
  return poll(&end, 1, 0) > 0 && (end.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* Why the guest cannot stay; its seat is free when the answer is SAM3_OK. The lock is held. */
static sam3_status examine(struct meeting *m, const struct hello *hello, struct sam3_error *err) {
  const struct sam3_launch *launch = &m->launch;
  const char *problem = hello_problem(&hello->prologue);
  if (problem)
    return fail(err, SAM3_ERR_UNSUPPORTED, "its %s differs from that of rank 0, which is sam3 " SAM3_VERSION, problem);
  if (!same_secret(hello->secret, launch->secret, sizeof launch->secret))
    return fail(err, SAM3_ERR_ARGUMENT, "its SAM3_SECRET is not the one of rank 0");
  if (memcmp(hello->run, launch->run, sizeof launch->run) != 0)
    return fail(err, SAM3_ERR_BUSY, "rank 0 there belongs to another run");
  if (hello->size != launch->size || hello->rank < 1 || hello->rank >= launch->size)
    return fail(err, SAM3_ERR_ARGUMENT, "rank 0 is one of %d ranks, not of %d", launch->size, (int)hello->size);
  struct seat *seat = &m->seats[hello->rank];
  if (seat->end.socket >= 0 && gone(seat->end.socket))
    endpoint_close(&seat->end);
  if (seat->taken || seat->end.socket >= 0)
    return fail(err, SAM3_ERR_BUSY, "rank %d is there already", (int)hello->rank);
  return SAM3_OK;
}

static bool answer(int socket, sam3_status status, const char *reason) {
  struct welcome welcome = {.prologue = hello_prologue(), .status = status};
  snprintf(welcome.reason, sizeof welcome.reason, "%.200s", reason);
  return send(socket, &welcome, sizeof welcome, MSG_NOSIGNAL) == (ssize_t)sizeof welcome; /* the buffer is empty */
}

/* The lock is held. */
static void sit(struct meeting *m, struct guest *guest) {
  const struct hello *hello = &guest->hello;
  const bool here = strcmp(hello->host, m->host) == 0;
  struct endpoint *end = &m->seats[hello->rank].end;
  hello_done(guest->socket);
  *end = (struct endpoint){.socket = guest->socket, .file = -1, .process = hello->process};
  guest->socket = -1;
  snprintf(end->name, sizeof end->name, "rank %d (process %d on %s)", (int)hello->rank, end->process, hello->host);
  snprintf(end->device, sizeof end->device, here ? "%s" : "%s@%s", hello->device, hello->host);
  pthread_cond_broadcast(&m->came);
}

/* The hello is whole, or its prologue makes the rest not worth waiting for. */
static void admit(struct meeting *m, struct guest *guest) {
  struct hello *hello = &guest->hello;
  struct sam3_error err = {0};
  hello->host[sizeof hello->host - 1] = hello->device[sizeof hello->device - 1] = '\0';
  pthread_mutex_lock(&m->lock);
  sam3_status status = examine(m, hello, &err);
  bool told = answer(guest->socket, status, err.message);
  if (status == SAM3_OK && told)
    sit(m, guest);
  else if (status != SAM3_OK)
    snprintf(m->refused, sizeof m->refused, "%s was refused: %.150s", guest->from, err.message);
  pthread_mutex_unlock(&m->lock);
  drop(guest);
}

static void hear(struct meeting *m, struct guest *guest) {
  char *at = (char *)&guest->hello + guest->got;
  ssize_t n = recv(guest->socket, at, sizeof guest->hello - guest->got, MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
    drop(guest);
  guest->got += n > 0 ? (size_t)n : 0;
  const struct prologue *prologue = &guest->hello.prologue;
  if (guest->socket < 0)
    return;
  if (guest->got >= sizeof prologue->magic && !hello_ours(prologue))
    drop(guest);
  else if (guest->got == sizeof guest->hello || (guest->got >= sizeof *prologue && hello_problem(prologue)))
    admit(m, guest);
}

static void greet(struct meeting *m) {
  struct sockaddr_storage from;
  socklen_t size = sizeof from;
  int socket = accept4(m->listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
      poll(NULL, 0, 50); /* it stays in the backlog: no hurry */
    return;
  }
  struct guest *place = &m->guests[0];
  for (int i = 0; i < GUESTS && place->socket >= 0; i++)
    if (m->guests[i].socket < 0 || m->guests[i].since < place->since)
      place = &m->guests[i];
  drop(place);
  *place = (struct guest){.socket = socket, .since = clock_seconds()};
  hello_address((struct sockaddr *)&from, size, place->from);
}

static void *meeting_main(void *arg) {
  struct meeting *m = arg;
  for (;;) {
    struct pollfd fds[GUESTS + 2] = {{.fd = m->bell, .events = POLLIN}, {.fd = m->listener, .events = POLLIN}};
    double now = clock_seconds();
    bool anyone = false;
    for (int i = 0; i < GUESTS; i++) {
      if (m->guests[i].socket >= 0 && now - m->guests[i].since > HELLO_SECONDS)
        drop(&m->guests[i]);
      anyone |= m->guests[i].socket >= 0;
      fds[i + 2] = (struct pollfd){.fd = m->guests[i].socket, .events = POLLIN};
    }
    if (poll(fds, GUESTS + 2, anyone ? 500 : -1) < 0 && errno != EINTR)
      return NULL;
    if (fds[0].revents)
      return NULL;
    for (int i = 0; i < GUESTS; i++)
      if (fds[i + 2].revents)
        hear(m, &m->guests[i]);
    if (fds[1].revents)
      greet(m);
  }
}

/* ------------------------------------------------------------------------------------ the meeting */

static sam3_status taken(const struct meeting *m, struct sam3_error *err) {
  char holder[PORT_HOLDER];
  bool known = port_holder(m->launch.port, holder);
  return fail(err, SAM3_ERR_IO,
              "port %d, where the ranks meet, is taken%s%s: set SAM3_MASTER_PORT, or MASTER_PORT to "
              "one less than a free port, for all ranks",
              m->launch.port, known ? " by " : "", known ? holder : "");
}

/* Listens there; false: errno says why not. */
static bool listen_on(struct meeting *m, const struct sockaddr *address, socklen_t size) {
  static const int on = 1;
  m->listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  hello_address(address, size, m->place);
  if (m->listener < 0)
    return false;
  setsockopt(m->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* after an earlier run, not beside it */
  if (bind(m->listener, address, size) == 0 && listen(m->listener, GUESTS) == 0)
    return true;
  int problem = errno;
  close(m->listener);
  m->listener = -1;
  errno = problem;
  return false;
}

static sam3_status open_listener(struct meeting *m, struct sam3_error *err) {
  struct addrinfo *list;
  TRY(hello_resolve(&m->launch, &list, err));
  bool done = false;
  int problem = EADDRNOTAVAIL;
  for (const struct addrinfo *at = list; at && !done; at = at->ai_next) {
    done = listen_on(m, at->ai_addr, at->ai_addrlen);
    problem = done ? 0 : errno;
    if (problem == EADDRINUSE)
      break;
  }
  freeaddrinfo(list);
  if (problem == EADDRNOTAVAIL) { /* not ours: a name that something before us forwards to this machine */
    char port[16];
    const struct addrinfo all = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET, .ai_flags = AI_PASSIVE};
    snprintf(port, sizeof port, "%d", m->launch.port);
    if (getaddrinfo(NULL, port, &all, &list) != 0)
      return fail_memory(err, 0, "an address");
    done = listen_on(m, list->ai_addr, list->ai_addrlen);
    problem = done ? 0 : errno;
    freeaddrinfo(list);
  }
  if (problem == EADDRINUSE)
    return taken(m, err);
  return done
             ? SAM3_OK
             : fail(err, SAM3_ERR_IO, "rank 0 cannot listen on %s (SAM3_MASTER_PORT): %s", m->place, strerror(problem));
}

static sam3_status start(struct meeting *m, struct sam3_error *err) {
  if (!m->seats)
    return fail_memory(err, sizeof *m->seats, "the meeting");
  for (int i = 0; i < m->launch.size; i++)
    m->seats[i].end = (struct endpoint){.socket = -1, .file = -1};
  TRY(open_listener(m, err));
  m->bell = eventfd(0, EFD_CLOEXEC);
  if (m->bell < 0 || pthread_create(&m->thread, NULL, meeting_main, m) != 0)
    return fail(err, SAM3_ERR_MEMORY, "the thread of the meeting could not be started");
  m->has_thread = true;
  return SAM3_OK;
}

sam3_status meeting_open(const struct sam3_launch *launch, struct meeting **meeting, struct sam3_error *err) {
  struct meeting *m = *meeting = mem_zeroed(1, sizeof *m);
  if (!m)
    return fail_memory(err, sizeof *m, "the meeting");
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->came, &monotonic);
  pthread_condattr_destroy(&monotonic);
  m->launch = *launch;
  m->listener = m->bell = -1;
  for (int i = 0; i < GUESTS; i++)
    m->guests[i].socket = -1;
  gethostname(m->host, sizeof m->host - 1);
  m->seats = mem_zeroed((size_t)launch->size, sizeof *m->seats);
  sam3_status status = start(m, err);
  if (status != SAM3_OK) {
    meeting_close(m);
    *meeting = NULL;
  }
  return status;
}

/* "1, 2, 5" of those who are not there; returns how many. The lock is held. */
static int missing(const struct meeting *m, char *list, size_t size) {
  int count = 0;
  size_t at = 0;
  *list = '\0';
  for (int rank = 1; rank < m->launch.size; rank++)
    if (m->seats[rank].end.socket < 0) {
      count++;
      if (at < size)
        at += (size_t)snprintf(list + at, size - at, "%s%d", count > 1 ? ", " : "", rank);
    }
  return count;
}

sam3_status meeting_gather(struct meeting *m, struct sam3_error *err) {
  char list[80];
  int left;
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += (time_t)m->launch.seconds;
  pthread_mutex_lock(&m->lock);
  while ((left = missing(m, list, sizeof list)) && pthread_cond_timedwait(&m->came, &m->lock, &until) != ETIMEDOUT)
    ;
  sam3_status status =
      left ? fail(err, SAM3_ERR_TIMEOUT, "%d of %d ranks did not come to %s within %.0f s (rank %s)%s%.150s", left,
                  m->launch.size, m->place, m->launch.seconds, list, *m->refused ? "; " : "", m->refused)
           : SAM3_OK;
  pthread_mutex_unlock(&m->lock);
  return status;
}

bool meeting_take(struct meeting *m, int rank, struct endpoint *end) {
  struct seat *seat = &m->seats[rank];
  pthread_mutex_lock(&m->lock);
  seat->taken = false;
  while (!m->ending && seat->end.socket < 0)
    pthread_cond_wait(&m->came, &m->lock);
  bool there = !m->ending;
  if (there) {
    *end = seat->end;
    seat->end = (struct endpoint){.socket = -1, .file = -1};
    seat->taken = true;
  }
  pthread_mutex_unlock(&m->lock);
  return there;
}

void meeting_end(struct meeting *m) {
  pthread_mutex_lock(&m->lock);
  m->ending = true;
  pthread_cond_broadcast(&m->came);
  pthread_mutex_unlock(&m->lock);
}

void meeting_close(struct meeting *m) {
  if (!m)
    return;
  if (m->has_thread) {
    eventfd_write(m->bell, 1);
    pthread_join(m->thread, NULL);
  }
  for (int i = 0; i < GUESTS; i++)
    drop(&m->guests[i]);
  for (int i = 0; m->seats && i < m->launch.size; i++)
    endpoint_close(&m->seats[i].end);
  if (m->listener >= 0)
    close(m->listener);
  if (m->bell >= 0)
    close(m->bell);
  pthread_cond_destroy(&m->came);
  pthread_mutex_destroy(&m->lock);
  free(m->seats);
  free(m);
}
