/* The inside of the server.
 *
 *   network thread   libmicrohttpd's: reads requests, answers at once what needs no work, never waits
 *   pool             num_workers threads: decode images, read prompts, submit to the engine, write results
 *   keeper           one thread: hears of jobs from the engine and of clients that left, keeps time
 *   engine           its own threads and processes
 *
 * A request that has to wait is suspended: it costs its memory and no thread. Locks are taken in the order jobs, job,
 * request; the keeper's is taken last and alone. */
#ifndef SAM3_SERVE_SERVER_H
#define SAM3_SERVE_SERVER_H

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "serve/images.h"
#include "serve/pool.h"
#include "serve/prompts.h"
#include "serve/serve.h"

/* ---- problems: RFC 9457 answers (respond.c) ---- */

enum problem {
  PROBLEM_NONE,
  PROBLEM_BAD_REQUEST,
  PROBLEM_UNAUTHORIZED,
  PROBLEM_FORBIDDEN,
  PROBLEM_NOT_FOUND,
  PROBLEM_METHOD,
  PROBLEM_TIMEOUT,
  PROBLEM_TOO_LARGE,
  PROBLEM_MEDIA,
  PROBLEM_MISDIRECTED,
  PROBLEM_UNPROCESSABLE,
  PROBLEM_UNTRANSLATABLE,
  PROBLEM_QUEUE_FULL,
  PROBLEM_UNAVAILABLE,
  PROBLEM_INTERNAL,
};

unsigned problem_status(enum problem problem);
/* The document; NULL without memory. Free with free(). */
char *problem_text(enum problem problem, const char *detail);
enum problem problem_of(sam3_status status);

/* ---- jobs (job.c) ---- */

enum job_phase { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

/* One question to the engine, and its answer. */
struct job {
  atomic_int references;
  struct server *server;
  char id[ID_SIZE];
  char client[64];
  char name[256]; /* of the image, for the document */
  sam3_image *image;
  struct prompt_list prompts;
  float threshold;

  pthread_mutex_t lock;
  sam3_job *handle; /* NULL before it is submitted and after its end */
  bool cancelled;   /* somebody asked for it */
  bool finishing;   /* the pool takes its answer */
  enum job_phase phase;
  struct sam3_job_state state;
  char *text; /* at the end: the result or the problem */
  size_t size;
  enum problem problem;
  double ended;
  bool told;                 /* somebody has fetched its end */
  struct request *listeners; /* that wait for it */

  atomic_bool changed; /* is in the keeper's list */
  struct job *next_changed;
  struct job *next; /* of the kept ones */
};

/* One reference, the caller's. */
struct job *job_new(struct server *server);
void job_free(struct job *job); /* gives up a reference */
/* Queues it. */
sam3_status job_submit(struct job *job, struct sam3_error *err);
void job_cancel(struct job *job);
bool job_ended(const struct job *job);
/* Makes it known by its id, for a time after its end; a share. */
void jobs_keep(struct job *job);
/* A reference, or NULL. */
struct job *jobs_find(struct server *server, const char *id);
void jobs_forget(struct server *server, const char *id);
/* The keeper calls these: the engine said something; time went by. */
void job_update(struct job *job);
void jobs_expire(struct server *server, double now);
/* Whether the end of a kept job is to be fetched still: for a moment, clients that poll may come. */
bool jobs_untold(struct server *server);
/* Cancels all that are kept. */
void jobs_cancel(struct server *server);
void jobs_close(struct server *server);
/* Its state as GET tells it. Free with free(). */
char *job_describe(struct job *job);

/* ---- requests (http.c) ---- */

struct part {
  char *bytes; /* ends with a NUL that is not counted */
  size_t size, capacity;
};

enum body_kind { BODY_NONE, BODY_JSON, BODY_MULTIPART, BODY_RAW };

struct request {
  atomic_int references;
  struct server *server;
  struct MHD_Connection *connection;
  struct visitor *visitor;
  char method[12], path[256], client[64];
  const struct route *route;
  char id[ID_SIZE]; /* in the path */
  double began;
  bool begun; /* the handler was called */

  /* The body. */
  enum body_kind kind;
  struct MHD_PostProcessor *post;
  struct part body, image, prompts, threshold; /* JSON and raw bytes in body, fields of a form in the others */
  char filename[256];
  uint64_t received;
  bool async;     /* Prefer: respond-async */
  bool misframed; /* it may end elsewhere than it seems */

  pthread_mutex_t lock;
  bool suspended, answered, gone; /* gone: the client left */
  bool ping;                      /* a stream: say something, so that the connection stays */
  unsigned status;
  struct MHD_Response *response;
  char allow[40], origin[300];

  struct job *job; /* listens to it */
  struct request *next_listener;
  struct stream *stream; /* the answer is an event stream */

  /* Among all requests; under the keeper's lock. */
  uint64_t serial;
  struct request *previous, *next;
};

/* A connection, from its first byte to its last; under the keeper's lock. */
struct visitor {
  int fd;
  double deadline;         /* for a whole request to have arrived; INFINITY: it has */
  struct request *request; /* that arrives; NULL: its head is not complete */
  struct visitor *previous, *next;
};

void request_share(struct request *request);
void request_free(struct request *request); /* gives up a reference */
/* The client left. */
void request_gone(struct request *request);
/* Whether it has, as far as is known. */
bool request_left(struct request *request);
/* Keeps the connection of a stream open. */
void request_ping(struct request *request);
/* Waits for the job: a stream is woken by every change, others are answered at its end. False: the client left. */
bool request_listen(struct request *request, struct job *job);
/* Lets the network thread go on with it. */
void request_resume(struct request *request);
/* Suspends it, from the network thread, its lock held. False: the server ends. */
bool request_suspend(struct request *request);
/* False when it was answered already; then `response` is destroyed. */
bool request_answer(struct request *request, unsigned status, struct MHD_Response *response);
/* How many of a kind of answer there were, for the metrics. */
#define STATUS_CLASSES 6

sam3_status http_start(struct server *server, int listening, struct sam3_error *err);
/* After this no request is suspended. */
void http_release(struct server *server);
void http_stop(struct server *server);

/* ---- answers (respond.c) ---- */

void respond_json(struct request *request, unsigned status, json_t *value); /* takes the value */
/* Takes `text`, which free() frees; NULL stands for no memory. */
void respond_text(struct request *request, unsigned status, const char *type, char *text);
void respond_empty(struct request *request, unsigned status);
/* The text of a job that has ended. */
void respond_job(struct request *request, struct job *job);
__attribute__((format(printf, 3, 4))) void respond_problem(struct request *request, enum problem problem,
                                                           const char *format, ...);
void respond_error(struct request *request, const struct sam3_error *err);
/* What every answer carries. */
void add_headers(const struct request *request, struct MHD_Response *response);

/* ---- who may ask from a browser (origin.c) ---- */

#define HOST_SIZE 256

/* Whether a Host header names this server: by address, as localhost, or by a name of `allowed` ("*": any). */
bool host_allowed(const struct text_list *allowed, const char *host);
bool origin_in(const struct text_list *origins, const char *origin);
/* Whether a page of this origin came from this server, whose name is in the Host header. */
bool origin_is_host(const char *origin, const char *host);

/* ---- endpoints ---- */

struct route {
  const char *method, *path; /* {id} stands for one part */
  void (*handle)(struct request *request);
  enum { NEEDS_BODY = 1, NEEDS_KEY = 2, NEEDS_ENGINE = 4, DEFERRED = 8, OPTIONAL_RAW = 16 } flags;
};

extern const struct route routes[];
extern const size_t n_routes;

void get_devices(struct request *request);
void get_metrics(struct request *request);
void get_page(struct request *request);
void get_openapi(struct request *request);
void get_samples(struct request *request);
void get_sample(struct request *request);
void get_job_events(struct request *request);
void post_segment(struct request *request);
void post_image(struct request *request);
void post_image_segment(struct request *request);
void stream_free(struct stream *stream);

/* ---- log (log.c): one JSON object a line ---- */

struct log;
sam3_status log_open(const char *path, struct log **log, struct sam3_error *err);
void log_reopen(struct log *log);
void log_request(struct log *log, const struct request *request, double seconds);
__attribute__((format(printf, 3, 4))) void log_event(struct log *log, const char *level, const char *format, ...);
void log_close(struct log *log);

/* ---- keeper (keeper.c) ---- */

struct keeper;
sam3_status keeper_open(struct server *server, struct keeper **keeper, struct sam3_error *err);
/* The job has changed; from any thread, the engine's as well. */
void keeper_tell(struct keeper *keeper, struct job *job);
/* A connection begins and ends. */
void keeper_meet(struct keeper *keeper, struct visitor *visitor);
void keeper_part(struct keeper *keeper, struct visitor *visitor);
/* A request begins, has arrived, and ends. */
void keeper_add(struct keeper *keeper, struct request *request);
void keeper_arrived(struct keeper *keeper, struct request *request);
void keeper_remove(struct keeper *keeper, struct request *request);
/* While it is suspended, its client may leave. */
void keeper_watch(struct keeper *keeper, struct request *request);
void keeper_unwatch(struct keeper *keeper, struct request *request);
/* Calls `visit` for every request, with a reference of its own. */
void keeper_each(struct keeper *keeper, void (*visit)(struct request *request));
/* The newest request so far; and whether it and all before it have ended, their answers sent. */
uint64_t keeper_newest(struct keeper *keeper);
bool keeper_idle(struct keeper *keeper, uint64_t newest);
void keeper_close(struct keeper *keeper);

/* ---- sockets (port.c) ---- */

/* A socket that listens; `port` becomes the real one. Says who holds a port that is taken. */
sam3_status port_listen(const char *host, uint64_t *port, int *out, struct sam3_error *err);

/* ---- the server (server.c) ---- */

struct server {
  const struct serve_options *options;
  struct settings settings; /* as at the start; what SIGHUP changes is below */
  struct MHD_Daemon *daemon;
  _Atomic(sam3_engine *) engine; /* NULL while it opens */
  char *model_json;              /* GET /v1/model, once the engine is there */
  json_t *samples;               /* or NULL */
  struct pool *pool;
  struct images *images;
  struct keeper *keeper;
  struct log *log;
  double began;
  uint64_t port;
  atomic_bool draining;     /* no new work */
  atomic_bool stopping;     /* nothing may wait any more */
  atomic_size_t body_bytes; /* of requests that arrive or wait */
  atomic_size_t active;     /* jobs that have not ended */
  atomic_uint_fast64_t answers[STATUS_CLASSES];

  pthread_rwlock_t changing; /* the next two */
  struct text_list api_keys;
  float threshold;

  pthread_mutex_t jobs_lock;
  struct job *jobs;
};

double now_seconds(void); /* monotonic */
/* Whether `key` is one, in a time that tells nothing about it. */
bool key_allowed(struct server *server, const char *key);
float default_threshold(struct server *server);

#endif
