#include "base/arena.h"

#include "base/error.h"
#include "base/memory.h"

sam3_status arena_init(struct arena *arena, size_t size, const char *what, struct sam3_error *err) {
  *arena = (struct arena){.base = mem_pages(size), .size = size};
  return arena->base ? SAM3_OK : fail_memory(err, size, what);
}

void arena_free(struct arena *arena) {
  mem_free_pages(arena->base, arena->size);
  *arena = (struct arena){0};
}

void *arena_take(struct arena *arena, size_t size) {
  size_t at = arena->used;
  arena->used += (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
  if (arena->used > arena->peak)
    arena->peak = arena->used;
  return arena->base && arena->used <= arena->size ? arena->base + at : NULL;
}
