/* The coordinator: jobs wait in one queue, each worker has a thread of the coordinator that takes them out and has its
 * runner do them. One lock guards all of it; it is never held while a runner works or a caller is called back. */
#ifndef SAM3_ENGINE_ENGINE_H
#define SAM3_ENGINE_ENGINE_H

#include <pthread.h>

#include "engine/meeting.h"
#include "engine/queue.h"

struct sam3_job {
  struct sam3_engine *engine;
  int references;       /* the caller's, and the engine's until it is done */
  struct queued queued; /* its place while it waits */

  /* The request. */
  sam3_image *image;
  struct sam3_prompt *prompts;
  size_t n_prompts;
  float threshold;
  uint64_t client;
  double deadline; /* on the monotonic clock; INFINITY: none */

  /* The caller's callback; the lock is held while it runs. Taken before the engine's lock, never after. */
  pthread_mutex_t calling;
  void (*changed)(void *user);
  void *user;

  /* Its state. */
  enum sam3_phase phase;
  struct sam3_error error; /* status SAM3_OK: none */
  struct sam3_results *results;
  const char *stage;
  double fraction, submitted, started, ended;
  bool encoded, cancelled, timed_out, retried;
  char device[64];
};

/* Which encoded images lie in which slots, of a worker or of a team: the coordinator says so. */
struct slots {
  struct cached {
    uint64_t image; /* sam3_image.id; 0: none */
    uint64_t used;  /* when last, on the engine's clock of takes */
  } items[MAX_SLOTS];
  int n; /* 0: no runner */
};

/* The workers that can do tasks together: all but those that were given up. Whenever one is, the others form a team
 * anew, each when it is idle. */
struct team {
  struct split *split; /* over them; a worker's rank is its place among those that are left */
  struct slots slots;
  int ranks;
  size_t users; /* workers that have joined, and the gang */
};

/* A task that the workers of a team do together. */
struct gang {
  struct sam3_job *job; /* NULL: none */
  struct team *team;
  struct task task;
  size_t left; /* workers that have not ended their part */
  bool lost;   /* a runner was lost */
  sam3_status status;
  struct sam3_error error;
  struct sam3_results *results;
};

struct worker {
  struct sam3_engine *engine;
  pthread_t thread;
  bool has_thread;
  char device[64];
  int rank;              /* of the process that a launcher started and that comes by itself; 0: ours */
  struct runner *runner; /* NULL: not started, or lost; used by its own thread alone */
  struct slots slots;
  struct team *team; /* that its runner has joined; NULL: none */
  int team_rank;
  bool called;  /* to the gang */
  size_t batch; /* tasks of its own since it last encoded an image, that one included */
  int failures; /* of the runner, to open or in a task, since the last task that it did */
  double opened, busy_since;
  struct sam3_worker_stats stats; /* `busy` without the task in hand */
};

struct sam3_engine {
  sam3_model *model;
  struct runner_options runner; /* but for the device */
  char *model_path, *program;   /* of worker processes; NULL: this one */
  struct meeting *meeting;      /* of the ranks that a launcher started, one a worker but for the first; NULL: none */
  sam3_parallel parallel;
  sam3_schedule schedule;
  struct worker *workers;
  size_t n_workers;

  pthread_mutex_t lock;
  pthread_cond_t work; /* a job came, a worker began or ended, or the engine closes */
  pthread_cond_t done; /* a job ended, or a worker changed its state */
  pthread_t keeper;
  bool has_keeper;
  bool closing;
  struct queue queue;
  size_t queue_requests;
  uint64_t queue_bytes;
  size_t batch;      /* as sam3_engine_options says */
  uint64_t clock;    /* takes */
  struct team *team; /* NULL: none yet, or no longer */
  struct gang gang;
  struct sam3_job **running; /* [n_workers] */
  struct sam3_engine_stats stats;
  struct sam3_error start_error; /* of the first worker that could not be started */
};

/* ---- jobs (job.c); the lock is held unless said otherwise ---- */

/* Ends a job that is not queued: results or `error`, one of them, are taken over. */
void job_end(struct sam3_job *job, struct sam3_results *results, const struct sam3_error *error);
struct sam3_job *job_of(const struct queued *item);
/* Bytes of the images that wait, each counted once, and of `image` (NULL: none). */
uint64_t queue_image_bytes(const struct sam3_engine *engine, const sam3_image *image);
void job_hold(struct sam3_job *job);
/* Without the lock. */
void job_release(struct sam3_job *job);
/* Tells the caller; without the lock, while the job is held. */
void job_tell(struct sam3_job *job);

/* ---- workers (worker.c); the lock is held unless said otherwise ---- */

/* Without the lock. */
void *worker_main(void *worker);
/* Those that were not given up. */
size_t workers_left(const struct sam3_engine *engine);
/* A bell for every job that waits, whose place may have moved; without the lock. */
void engine_tell_waiting(struct sam3_engine *engine);

/* ---- teams (team.c); the lock is held ---- */

/* The worker takes its place in the engine's team, which the first one that comes makes. Its own thread calls this. */
sam3_status team_join(struct worker *worker, struct sam3_error *err);
void team_leave(struct worker *worker);
/* Nobody uses the team for a gang, or as a worker, any more. */
void team_release(struct sam3_engine *engine, struct team *team);
/* The engine's team is to be made anew. */
void team_dissolve(struct sam3_engine *engine);
/* Every worker that is left has joined. */
bool team_is_whole(const struct sam3_engine *engine);

#endif
