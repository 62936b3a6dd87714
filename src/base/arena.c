#include "base/arena.h"

struct arena arena_dry(void) {
  return (struct arena){.base = (unsigned char *)(uintptr_t)ARENA_ALIGN, .size = SIZE_MAX / 4};
}

void *arena_take(struct arena *arena, size_t size) {
  size_t at = arena->used;
  arena->used += (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
  if (arena->used > arena->peak)
    arena->peak = arena->used;
  return arena->used <= arena->size ? arena->base + at : NULL;
}
