/* Text as an array of Unicode code points that grows. */
#ifndef SAM3_TEXT_CODEPOINTS_H
#define SAM3_TEXT_CODEPOINTS_H

#include <stddef.h>
#include <stdint.h>

#include "sam3.h"

/* All zero is the empty text. */
struct codepoints {
  uint32_t *at;
  size_t count, capacity;
};

/* Makes room for `capacity` code points. */
sam3_status codepoints_reserve(struct codepoints *text, size_t capacity, struct sam3_error *err);

/* Takes over `count` code points at `at`, a result of one of libunistring's u32 functions that was given text->at as
 * its buffer; NULL means that it found no memory. */
sam3_status codepoints_adopt(struct codepoints *text, uint32_t *at, size_t count, struct sam3_error *err);

void codepoints_free(struct codepoints *text);

#endif
