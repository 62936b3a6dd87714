/* Threads for what takes time: decoding images, writing results. */
#ifndef SAM3_SERVE_POOL_H
#define SAM3_SERVE_POOL_H

#include "sam3.h"

struct pool;

sam3_status pool_open(size_t threads, struct pool **pool, struct sam3_error *err);
/* Calls `run` on one of the threads; the urgent go first. False: no memory, nothing will be called. */
bool pool_add(struct pool *pool, bool urgent, void (*run)(void *user), void *user);
/* How many wait. */
size_t pool_waiting(struct pool *pool);
/* Everything that was added is run first. */
void pool_close(struct pool *pool);

#endif
