#include "serve/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

struct task {
  struct task *next;
  void (*run)(void *user);
  void *user;
};

struct pool {
  pthread_mutex_t lock;
  pthread_cond_t more;
  struct task *first[2], **last[2]; /* ordinary, urgent */
  size_t waiting, n_threads;
  bool closing;
  pthread_t threads[];
};

static void *work(void *user) {
  struct pool *pool = user;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    int kind = pool->first[1] ? 1 : 0;
    struct task *task = pool->first[kind];
    if (task) {
      pool->first[kind] = task->next;
      if (!task->next)
        pool->last[kind] = &pool->first[kind];
      pool->waiting--;
      pthread_mutex_unlock(&pool->lock);
      task->run(task->user);
      free(task);
      pthread_mutex_lock(&pool->lock);
    } else if (pool->closing) {
      break;
    } else {
      pthread_cond_wait(&pool->more, &pool->lock);
    }
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

sam3_status pool_open(size_t threads, struct pool **out, struct sam3_error *err) {
  struct pool *pool = *out = mem_zeroed(1, sizeof *pool + threads * sizeof *pool->threads);
  if (!pool)
    return fail_memory(err, sizeof *pool, "threads");
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->more, NULL);
  for (int i = 0; i < 2; i++)
    pool->last[i] = &pool->first[i];
  for (; pool->n_threads < threads; pool->n_threads++)
    if (pthread_create(&pool->threads[pool->n_threads], NULL, work, pool) != 0) {
      pool_close(pool);
      *out = NULL;
      return fail(err, SAM3_ERR_MEMORY, "num_workers: a thread could not be started");
    }
  return SAM3_OK;
}

bool pool_add(struct pool *pool, bool urgent, void (*run)(void *user), void *user) {
  struct task *task = mem_alloc(sizeof *task);
  if (!task)
    return false;
  *task = (struct task){.run = run, .user = user};
  pthread_mutex_lock(&pool->lock);
  *pool->last[urgent] = task;
  pool->last[urgent] = &task->next;
  pool->waiting++;
  pthread_cond_signal(&pool->more);
  pthread_mutex_unlock(&pool->lock);
  return true;
}

size_t pool_waiting(struct pool *pool) {
  pthread_mutex_lock(&pool->lock);
  size_t waiting = pool->waiting;
  pthread_mutex_unlock(&pool->lock);
  return waiting;
}

void pool_close(struct pool *pool) {
  if (!pool)
    return;
  pthread_mutex_lock(&pool->lock);
  pool->closing = true;
  pthread_cond_broadcast(&pool->more);
  pthread_mutex_unlock(&pool->lock);
  for (size_t i = 0; i < pool->n_threads; i++)
    pthread_join(pool->threads[i], NULL);
  pthread_cond_destroy(&pool->more);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}
