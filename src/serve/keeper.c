/* One thread that hears of jobs from the engine and of clients that left, and keeps time. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "serve/server.h"

#define TICK_MS 250 /* uploads and finished jobs are looked at this often */
#define PING_SECONDS 10
#define EVENTS 64

struct keeper {
  struct server *server;
  int epoll, wake;
  pthread_t thread;
  pthread_mutex_t lock;
  struct job *changed;      /* each with a reference */
  struct request *requests; /* all */
  struct visitor *visitors; /* all connections */
  uint64_t serial;
  bool closing;
};

static void ring(struct keeper *keeper) {
  uint64_t one = 1;
  while (write(keeper->wake, &one, sizeof one) < 0 && errno == EINTR)
    ;
}

void keeper_tell(struct keeper *keeper, struct job *job) {
  if (atomic_exchange(&job->changed, true))
    return;
  atomic_fetch_add(&job->references, 1);
  pthread_mutex_lock(&keeper->lock);
  job->next_changed = keeper->changed;
  keeper->changed = job;
  pthread_mutex_unlock(&keeper->lock);
  ring(keeper);
}

/* For a head to be complete, which may come after a pause. */
static double head_deadline(const struct keeper *keeper) {
  const struct settings *s = &keeper->server->settings;
  return now_seconds() + (double)s->idle_seconds + s->upload_seconds;
}

void keeper_meet(struct keeper *keeper, struct visitor *visitor) {
  pthread_mutex_lock(&keeper->lock);
  visitor->deadline = head_deadline(keeper);
  visitor->next = keeper->visitors;
  if (visitor->next)
    visitor->next->previous = visitor;
  keeper->visitors = visitor;
  pthread_mutex_unlock(&keeper->lock);
}

void keeper_part(struct keeper *keeper, struct visitor *visitor) {
  pthread_mutex_lock(&keeper->lock);
  if (visitor->previous)
    visitor->previous->next = visitor->next;
  else
    keeper->visitors = visitor->next;
  if (visitor->next)
    visitor->next->previous = visitor->previous;
  pthread_mutex_unlock(&keeper->lock);
}

void keeper_add(struct keeper *keeper, struct request *request) {
  pthread_mutex_lock(&keeper->lock);
  request->visitor->request = request;
  request->visitor->deadline = request->began + keeper->server->settings.upload_seconds;
  request->serial = ++keeper->serial; /* 0 is the keeper's own bell */
  request->next = keeper->requests;
  if (request->next)
    request->next->previous = request;
  keeper->requests = request;
  pthread_mutex_unlock(&keeper->lock);
}

void keeper_arrived(struct keeper *keeper, struct request *request) {
  pthread_mutex_lock(&keeper->lock);
  request->visitor->deadline = INFINITY;
  pthread_mutex_unlock(&keeper->lock);
}

void keeper_remove(struct keeper *keeper, struct request *request) {
  pthread_mutex_lock(&keeper->lock);
  request->visitor->request = NULL;
  request->visitor->deadline = head_deadline(keeper);
  if (request->previous)
    request->previous->next = request->next;
  else
    keeper->requests = request->next;
  if (request->next)
    request->next->previous = request->previous;
  pthread_mutex_unlock(&keeper->lock);
}

void keeper_watch(struct keeper *keeper, struct request *request) {
  struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = request->serial};
  epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, request->visitor->fd, &event);
}

void keeper_unwatch(struct keeper *keeper, struct request *request) {
  epoll_ctl(keeper->epoll, EPOLL_CTL_DEL, request->visitor->fd, NULL);
}

/* A reference to the request, which may have ended meanwhile. */
static struct request *find(struct keeper *keeper, uint64_t serial) {
  pthread_mutex_lock(&keeper->lock);
  struct request *request = keeper->requests;
  while (request && request->serial != serial)
    request = request->next;
  if (request)
    request_share(request);
  pthread_mutex_unlock(&keeper->lock);
  return request;
}

void keeper_each(struct keeper *keeper, void (*visit)(struct request *request)) {
  uint64_t below = UINT64_MAX; /* the list is by falling serial */
  for (;;) {
    pthread_mutex_lock(&keeper->lock);
    struct request *request = keeper->requests;
    while (request && request->serial >= below)
      request = request->next;
    if (request) {
      below = request->serial;
      request_share(request);
    }
    pthread_mutex_unlock(&keeper->lock);
    if (!request)
      return;
    visit(request);
    request_free(request);
  }
}

uint64_t keeper_newest(struct keeper *keeper) {
  pthread_mutex_lock(&keeper->lock);
  uint64_t serial = keeper->serial;
  pthread_mutex_unlock(&keeper->lock);
  return serial;
}

bool keeper_idle(struct keeper *keeper, uint64_t newest) {
  pthread_mutex_lock(&keeper->lock);
  struct request *request = keeper->requests;
  while (request && request->serial > newest)
    request = request->next;
  pthread_mutex_unlock(&keeper->lock);
  return !request;
}

/* libmicrohttpd has not begun to answer, so that the answer can be written past it. */
static void tell_timeout(int fd) {
  char *text = problem_text(PROBLEM_TIMEOUT, "the request did not arrive in time (upload_seconds)"), head[200];
  int size = snprintf(head, sizeof head,
                      "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\n"
                      "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                      text ? strlen(text) : 0);
  if (send(fd, head, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL) == size && text)
    (void)!send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
  free(text);
}

/* Ends requests that take too long to arrive. One whose head is not complete hears nothing: nobody reads that. */
static void end_slow_uploads(struct keeper *keeper, double now) {
  pthread_mutex_lock(&keeper->lock);
  for (struct visitor *visitor = keeper->visitors; visitor; visitor = visitor->next)
    if (visitor->deadline < now) {
      visitor->deadline = INFINITY;
      if (visitor->request) {
        visitor->request->status = 408; /* for the log */
        tell_timeout(visitor->fd);
      }
      shutdown(visitor->fd, SHUT_RDWR);
    }
  pthread_mutex_unlock(&keeper->lock);
}

static void update_jobs(struct keeper *keeper) {
  pthread_mutex_lock(&keeper->lock);
  struct job *job = keeper->changed;
  keeper->changed = NULL;
  pthread_mutex_unlock(&keeper->lock);
  while (job) {
    struct job *next = job->next_changed;
    atomic_store(&job->changed, false); /* before it is looked at: what changes from now on is told again */
    job_update(job);
    job_free(job);
    job = next;
  }
}

static void *keep(void *user) {
  struct keeper *keeper = user;
  double last = now_seconds(), pinged = last;
  for (bool closing = false; !closing;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(keeper->epoll, events, EVENTS, TICK_MS);
    for (int i = 0; i < n; i++) {
      uint64_t count;
      struct request *request;
      if (!events[i].data.u64)
        (void)!read(keeper->wake, &count, sizeof count);
      else if ((request = find(keeper, events[i].data.u64))) {
        request_gone(request);
        request_free(request);
      }
    }
    update_jobs(keeper);
    double now = now_seconds();
    if (now - last >= TICK_MS * 1e-3) {
      last = now;
      end_slow_uploads(keeper, now);
      jobs_expire(keeper->server, now);
    }
    if (now - pinged >= PING_SECONDS) {
      pinged = now;
      keeper_each(keeper, request_ping);
    }
    pthread_mutex_lock(&keeper->lock);
    closing = keeper->closing;
    pthread_mutex_unlock(&keeper->lock);
  }
  update_jobs(keeper);
  return NULL;
}

sam3_status keeper_open(struct server *server, struct keeper **out, struct sam3_error *err) {
  struct keeper *keeper = *out = mem_zeroed(1, sizeof *keeper);
  if (!keeper)
    return fail_memory(err, sizeof *keeper, "the server");
  keeper->server = server;
  pthread_mutex_init(&keeper->lock, NULL);
  keeper->epoll = epoll_create1(EPOLL_CLOEXEC);
  keeper->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN};
  if (keeper->epoll >= 0 && keeper->wake >= 0 && epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, keeper->wake, &event) == 0 &&
      pthread_create(&keeper->thread, NULL, keep, keeper) == 0)
    return SAM3_OK;
  fail(err, SAM3_ERR_IO, "the server's thread could not be started: %s", strerror(errno));
  close(keeper->epoll);
  close(keeper->wake);
  free(keeper);
  *out = NULL;
  return SAM3_ERR_IO;
}

void keeper_close(struct keeper *keeper) {
  if (!keeper)
    return;
  pthread_mutex_lock(&keeper->lock);
  keeper->closing = true;
  pthread_mutex_unlock(&keeper->lock);
  ring(keeper);
  pthread_join(keeper->thread, NULL);
  close(keeper->epoll);
  close(keeper->wake);
  pthread_mutex_destroy(&keeper->lock);
  free(keeper);
}
