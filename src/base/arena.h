/* Stack allocator for activations: the same calls, run dry, count what a real run will take. */
#ifndef SAM3_BASE_ARENA_H
#define SAM3_BASE_ARENA_H

#include "sam3.h"

struct arena {
  unsigned char *base;
  size_t size; /* bytes at `base` */
  size_t used; /* bytes taken now */
  size_t peak; /* the most ever taken */
};

#define ARENA_ALIGN 64

/* An arena whose pointers must not be followed: for counting. */
struct arena arena_dry(void);

/* `size` bytes, aligned to ARENA_ALIGN, not zeroed; NULL when the arena is too small. */
void *arena_take(struct arena *arena, size_t size);

/* Everything taken after arena_mark() is given back by arena_release(). */
static inline size_t arena_mark(const struct arena *arena) {
  return arena->used;
}
static inline void arena_release(struct arena *arena, size_t mark) {
  arena->used = mark;
}

#endif
