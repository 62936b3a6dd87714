#include "image/rle.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

sam3_status rle_begin(struct rle_builder *builder, struct sam3_rle *rle, int width, int height,
                      struct sam3_error *err) {
  *rle = (struct sam3_rle){.width = width, .height = height};
  *builder = (struct rle_builder){.rle = rle};
  if (width < 1 || height < 1)
    return fail(err, SAM3_ERR_ARGUMENT, "a mask of %d x %d pixels", width, height);
  if ((uint64_t)width * (uint64_t)height > UINT32_MAX)
    return fail(err, SAM3_ERR_LIMIT, "a mask of %d x %d pixels: run lengths hold up to %u", width, height, UINT32_MAX);
  return SAM3_OK;
}

sam3_status rle_flush(struct rle_builder *builder, struct sam3_error *err) {
  struct sam3_rle *rle = builder->rle;
  if (rle->n_counts == builder->capacity) {
    size_t capacity = builder->capacity ? builder->capacity * 2 : 256;
    uint32_t *counts = mem_resize(rle->counts, capacity, sizeof *counts);
    if (!counts)
      return fail_memory(err, capacity * sizeof *counts, "the run lengths of a mask");
    rle->counts = counts;
    builder->capacity = capacity;
  }
  rle->counts[rle->n_counts++] = builder->run;
  builder->run = 0;
  builder->value = !builder->value;
  return SAM3_OK;
}

sam3_status rle_end(struct rle_builder *builder, struct sam3_error *err) {
  TRY(rle_flush(builder, err));
  struct sam3_rle *rle = builder->rle;
  uint32_t *counts = mem_resize(rle->counts, rle->n_counts, sizeof *counts);
  if (!counts)
    return fail_memory(err, rle->n_counts * sizeof *counts, "the run lengths of a mask");
  rle->counts = counts;
  return SAM3_OK;
}

void rle_free(struct sam3_rle *rle) {
  free(rle->counts);
  *rle = (struct sam3_rle){0};
}

sam3_status rle_check(const struct sam3_rle *rle, int width, int height, const char *what, struct sam3_error *err) {
  if (rle->width != width || rle->height != height)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: a mask of %d x %d pixels, expected %d x %d", what, rle->width, rle->height,
                width, height);
  uint64_t pixels = 0;
  for (size_t i = 0; i < rle->n_counts; i++)
    pixels += rle->counts[i];
  if (width < 1 || height < 1 || pixels != (uint64_t)width * (uint64_t)height)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: run lengths of %llu pixels for a mask of %d x %d", what,
                (unsigned long long)pixels, width, height);
  return SAM3_OK;
}

/* COCO's coding (cocodataset/cocoapi, common/maskApi.c, rleToString): from the fourth on, a count is its difference
 * to the one two before; 5 bits a character from the lowest, bit 5 says that more follow, bit 4 of the last is the
 * sign; plus 48. */
enum { FIRST_CHAR = 48, MORE = 0x20, SIGN = 0x10, MAX_CHARS = 7 };

sam3_status sam3_rle_to_string(const struct sam3_rle *rle, char **text, struct sam3_error *err) {
  *text = NULL;
  TRY(rle_check(rle, rle->width, rle->height, "sam3_rle_to_string", err));
  size_t size = rle->n_counts * MAX_CHARS + 1;
  char *start = mem_alloc(size), *out = start;
  if (!start)
    return fail_memory(err, size, "a mask as text");
  for (size_t i = 0; i < rle->n_counts; i++) {
    int64_t value = (int64_t)rle->counts[i] - (i > 2 ? rle->counts[i - 2] : 0);
    for (bool more = true; more;) {
      int bits = value & 0x1f;
      value >>= 5;
      more = bits & SIGN ? value != -1 : value != 0;
      *out++ = (char)(FIRST_CHAR + (bits | (more ? MORE : 0)));
    }
  }
  *out++ = '\0';
  char *fitted = mem_resize(start, (size_t)(out - start), 1);
  if (!fitted)
    free(start);
  *text = fitted;
  return fitted ? SAM3_OK : fail_memory(err, (size_t)(out - start), "a mask as text");
}

/* One coded number; false when it is cut off, too long or has a foreign character. */
static bool read_number(const char *text, size_t length, size_t *at, int64_t *value) {
  int64_t sum = 0;
  for (int i = 0; i < MAX_CHARS && *at < length; i++) {
    int bits = text[(*at)++] - FIRST_CHAR;
    if (bits < 0 || bits >= 2 * MORE)
      return false;
    sum |= (int64_t)(bits & 0x1f) << 5 * i;
    if (!(bits & MORE)) {
      *value = bits & SIGN ? sum - ((int64_t)1 << 5 * (i + 1)) : sum;
      return true;
    }
  }
  return false;
}

static sam3_status read_counts(const char *text, size_t length, struct sam3_rle *rle, struct sam3_error *err) {
  uint64_t left = (uint64_t)rle->width * (uint64_t)rle->height;
  for (size_t at = 0; at < length;) {
    size_t begin = at;
    int64_t value;
    if (!read_number(text, length, &at, &value))
      return fail(err, SAM3_ERR_FORMAT, "run lengths: no number at character %zu", begin);
    if (rle->n_counts > 2)
      value += rle->counts[rle->n_counts - 2];
    if (value < 0 || (uint64_t)value > left)
      return fail(err, SAM3_ERR_FORMAT, "run lengths: a run of %lld pixels at character %zu where %llu are left",
                  (long long)value, begin, (unsigned long long)left);
    left -= (uint64_t)value;
    rle->counts[rle->n_counts++] = (uint32_t)value;
  }
  if (left)
    return fail(err, SAM3_ERR_FORMAT, "run lengths: %llu pixels are missing of a mask of %d x %d",
                (unsigned long long)left, rle->width, rle->height);
  return SAM3_OK;
}

sam3_status rle_from_string(const char *text, size_t length, int width, int height, struct sam3_rle *rle,
                            struct sam3_error *err) {
  struct rle_builder limits;
  TRY(rle_begin(&limits, rle, width, height, err));
  rle->counts = mem_zeroed(length, sizeof *rle->counts); /* a count has one character or more */
  if (!rle->counts)
    return fail_memory(err, length * sizeof *rle->counts, "the run lengths of a mask");
  sam3_status status = read_counts(text, length, rle, err);
  if (status != SAM3_OK)
    rle_free(rle);
  return status;
}

uint64_t rle_area(const struct sam3_rle *rle) {
  uint64_t area = 0;
  for (size_t i = 1; i < rle->n_counts; i += 2)
    area += rle->counts[i];
  return area;
}

bool rle_next(const struct sam3_rle *rle, struct rle_span *span) {
  while (!span->left) {
    if (span->index + 1 >= rle->n_counts)
      return false;
    span->at += rle->counts[span->index];
    span->left = rle->counts[span->index + 1];
    span->index += 2;
  }
  uint64_t height = (uint64_t)rle->height;
  span->x = (int)(span->at / height);
  span->y0 = (int)(span->at % height);
  uint64_t length = height - (uint64_t)span->y0 < span->left ? height - (uint64_t)span->y0 : span->left;
  span->y1 = span->y0 + (int)length;
  span->at += length;
  span->left -= length;
  return true;
}

struct rle_box rle_bounds(const struct sam3_rle *rle) {
  struct rle_span span = {0};
  if (!rle_next(rle, &span))
    return (struct rle_box){0};
  int x0 = span.x, x1 = span.x, y0 = span.y0, y1 = span.y1;
  do {
    x1 = span.x;
    y0 = span.y0 < y0 ? span.y0 : y0;
    y1 = span.y1 > y1 ? span.y1 : y1;
  } while (rle_next(rle, &span));
  return (struct rle_box){x0, y0, x1 + 1 - x0, y1 - y0};
}

void rle_fill_rows(const struct sam3_rle *rle, int y0, int y1, uint8_t value, uint8_t *tile) {
  size_t width = (size_t)rle->width;
  memset(tile, 0, (size_t)(y1 - y0) * width);
  for (struct rle_span span = {0}; rle_next(rle, &span);) {
    int begin = span.y0 > y0 ? span.y0 : y0, end = span.y1 < y1 ? span.y1 : y1;
    for (int y = begin; y < end; y++)
      tile[(size_t)(y - y0) * width + (size_t)span.x] = value;
  }
}
