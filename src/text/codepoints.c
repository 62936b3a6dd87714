#include "text/codepoints.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

sam3_status codepoints_reserve(struct codepoints *text, size_t capacity, struct sam3_error *err) {
  if (capacity <= text->capacity)
    return SAM3_OK;
  uint32_t *at = mem_resize(text->at, capacity, sizeof *at);
  if (!at)
    return fail_memory(err, capacity * sizeof *at, "text");
  text->at = at;
  text->capacity = capacity;
  return SAM3_OK;
}

sam3_status codepoints_adopt(struct codepoints *text, uint32_t *at, size_t count, struct sam3_error *err) {
  if (!at)
    return fail_memory(err, text->capacity * sizeof *at, "text");
  if (at != text->at) {
    free(text->at);
    text->at = at;
    text->capacity = count;
  }
  text->count = count;
  return SAM3_OK;
}

void codepoints_free(struct codepoints *text) {
  free(text->at);
  *text = (struct codepoints){0};
}
