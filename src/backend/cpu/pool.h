/* The threads of one device. The thread that calls an operator takes part as worker 0. */
#ifndef SAM3_BACKEND_CPU_POOL_H
#define SAM3_BACKEND_CPU_POOL_H

#include "sam3.h"

struct pool;

/* Does the work of items [begin, end) on worker `worker` (0 ≤ worker < pool_threads). */
typedef void pool_body(void *job, int64_t begin, int64_t end, int worker);

/* Starts count - 1 threads; worker i stays on core cores[i]. */
sam3_status pool_open(const int *cores, int count, struct pool **pool, struct sam3_error *err);
void pool_close(struct pool *pool);
/* Keeps the calling thread on cores[0]. */
void pool_bind_caller(const struct pool *pool);
int pool_threads(const struct pool *pool);

/* Runs body over the items 0 .. count - 1, in pieces of at most `grain` that workers take as they become free, and
 * returns when all are done. Not from inside a body. */
void pool_for(struct pool *pool, int64_t count, int64_t grain, pool_body *body, void *job);

#endif
