#include "backend/cpu/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

#if defined(__x86_64__) || defined(__i386__)
#define pause_cpu() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define pause_cpu() __asm__ volatile("yield")
#else
#define pause_cpu() ((void)0)
#endif

enum {
  SPINS = 2000,     /* pauses (about 50 µs) before a waiting worker sleeps: operators follow each other closely */
  YIELD_AFTER = 200 /* pauses before a wait for others' last pieces lets another thread run */
};

struct worker {
  struct pool *pool;
  pthread_t thread;
  int index;
};

struct pool {
  int threads, first_core;
  struct worker *workers;

  /* The job in hand. `epoch` counts jobs; who sees it change may read the rest. */
  pool_body *body;
  void *job;
  int64_t count, grain;
  _Alignas(64) atomic_uint epoch;
  _Alignas(64) atomic_llong next; /* first item not taken yet */
  _Alignas(64) atomic_int busy;   /* workers that have not finished this job */
  atomic_int sleepers;
  atomic_bool stop;
  pthread_mutex_t lock;
  pthread_cond_t wake;
};

int pool_threads(const struct pool *pool) {
  return pool->threads;
}

static void take_pieces(struct pool *pool, int worker) {
  int64_t count = pool->count, grain = pool->grain;
  for (;;) {
    int64_t begin = atomic_fetch_add_explicit(&pool->next, grain, memory_order_relaxed);
    if (begin >= count)
      return;
    pool->body(pool->job, begin, begin + grain < count ? begin + grain : count, worker);
  }
}

/* Returns when the epoch is no longer `seen`. */
static void wait_for_job(struct pool *pool, unsigned seen) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load_explicit(&pool->epoch, memory_order_acquire) != seen)
      return;
    pause_cpu();
  }
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->sleepers, 1);
  while (atomic_load(&pool->epoch) == seen)
    pthread_cond_wait(&pool->wake, &pool->lock);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->lock);
}

/* Starts a new epoch and wakes whoever sleeps. A worker that goes to sleep counts itself before it looks at the epoch
 * again, and both sides are sequentially consistent: either it sees the new epoch or it is seen here. */
static void next_epoch(struct pool *pool) {
  atomic_fetch_add(&pool->epoch, 1);
  if (atomic_load(&pool->sleepers) == 0)
    return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg) {
  struct worker *self = arg;
  struct pool *pool = self->pool;
  for (unsigned seen = 0;;) {
    wait_for_job(pool, seen);
    seen++;
    if (atomic_load(&pool->stop))
      return NULL;
    take_pieces(pool, self->index);
    atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
  }
}

static void pin(pthread_t thread, int core) {
#ifdef __linux__
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(core, &only);
  pthread_setaffinity_np(thread, sizeof only, &only); /* an unpinned worker is slower, not wrong */
#else
  (void)thread, (void)core;
#endif
}

void pool_bind_caller(const struct pool *pool) {
  pin(pthread_self(), pool->first_core);
}

/* A calling thread that is not bound belongs to the application, so it is not pinned for good: it is moved to its core
 * when it stands elsewhere, and left there. */
static void visit_core(int core) {
#ifdef __linux__
  if (sched_getcpu() == core)
    return;
  cpu_set_t old, only;
  CPU_ZERO(&only);
  CPU_SET(core, &only);
  if (pthread_getaffinity_np(pthread_self(), sizeof old, &old) == 0 && CPU_ISSET(core, &old) &&
      pthread_setaffinity_np(pthread_self(), sizeof only, &only) == 0)
    pthread_setaffinity_np(pthread_self(), sizeof old, &old);
#else
  (void)core;
#endif
}

void pool_for(struct pool *pool, int64_t count, int64_t grain, pool_body *body, void *job) {
  if (grain < 1)
    grain = 1;
  if (pool->threads == 1 || count <= grain) {
    if (count > 0)
      body(job, 0, count, 0);
    return;
  }
  visit_core(pool->first_core);
  pool->body = body;
  pool->job = job;
  pool->count = count;
  pool->grain = grain;
  atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
  next_epoch(pool);
  take_pieces(pool, 0);
  for (int i = 0; atomic_load_explicit(&pool->busy, memory_order_acquire) != 0; i++) {
    pause_cpu();
    if (i >= YIELD_AFTER)
      sched_yield();
  }
}

static sam3_status start_worker(struct worker *worker, int core, struct sam3_error *err) {
  int code = pthread_create(&worker->thread, NULL, worker_main, worker);
  if (code)
    return fail(err, SAM3_ERR_DEVICE, "cannot start thread %d of the CPU device (error %d)", worker->index, code);
  pin(worker->thread, core);
  return SAM3_OK;
}

sam3_status pool_open(const int *cores, int count, struct pool **out, struct sam3_error *err) {
  *out = NULL;
  struct pool *pool = mem_pages(sizeof *pool);
  if (!pool)
    return fail_memory(err, sizeof *pool, "the CPU device's threads");
  pool->threads = 1;
  pool->first_core = cores[0];
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pool->workers = mem_zeroed((size_t)count, sizeof *pool->workers);
  if (!pool->workers) {
    pool_close(pool);
    return fail_memory(err, (size_t)count * sizeof *pool->workers, "the CPU device's threads");
  }
  for (int i = 1; i < count; i++) {
    pool->workers[i] = (struct worker){.pool = pool, .index = i};
    sam3_status status = start_worker(&pool->workers[i], cores[i], err);
    if (status != SAM3_OK) {
      pool_close(pool);
      return status;
    }
    pool->threads = i + 1;
  }
  *out = pool;
  return SAM3_OK;
}

void pool_close(struct pool *pool) {
  if (!pool)
    return;
  atomic_store(&pool->stop, true);
  next_epoch(pool);
  for (int i = 1; i < pool->threads; i++)
    pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->lock);
  free(pool->workers);
  mem_free_pages(pool, sizeof *pool);
}
