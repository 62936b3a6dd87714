/* COCO run lengths: column-major, runs of background and mask in turn, the first of background (and maybe empty). */
#ifndef SAM3_IMAGE_RLE_H
#define SAM3_IMAGE_RLE_H

#include "sam3.h"

/* Builds `rle` run by run: rle_begin, rle_append in column-major order, rle_end; or rle_free on the way. */
struct rle_builder {
  struct sam3_rle *rle;
  size_t capacity;
  uint32_t run; /* of `value`, not yet in counts */
  bool value;
};

/* SAM3_ERR_LIMIT when the image has more pixels than a count can hold. */
sam3_status rle_begin(struct rle_builder *builder, struct sam3_rle *rle, int width, int height, struct sam3_error *err);
sam3_status rle_flush(struct rle_builder *builder, struct sam3_error *err);
/* SAM3_ERR_MEMORY. The caller appends width * height pixels in all. */
static inline sam3_status rle_append(struct rle_builder *builder, uint32_t pixels, bool value, struct sam3_error *err) {
  if (value != builder->value && pixels) {
    sam3_status status = rle_flush(builder, err);
    if (status != SAM3_OK)
      return status;
  }
  builder->run += pixels;
  return SAM3_OK;
}
/* Adds the last run and gives back what is not needed. */
sam3_status rle_end(struct rle_builder *builder, struct sam3_error *err);

void rle_free(struct sam3_rle *rle);

/* A mask from outside: its size is positive and its counts add up to it. `what` names it. SAM3_ERR_ARGUMENT. */
sam3_status rle_check(const struct sam3_rle *rle, int width, int height, const char *what, struct sam3_error *err);

/* COCO's compressed string, `length` characters, as pycocotools reads it but checked: SAM3_ERR_FORMAT names the
 * character. Free with rle_free. */
sam3_status rle_from_string(const char *text, size_t length, int width, int height, struct sam3_rle *rle,
                            struct sam3_error *err);

uint64_t rle_area(const struct sam3_rle *rle);

/* x, y, width, height of the smallest box around the mask; zeros when it is empty. */
struct rle_box {
  int x, y, width, height;
};
struct rle_box rle_bounds(const struct sam3_rle *rle);

/* Walks the mask column by column: the next vertical span [y0, y1) of column x. False at the end.
 *     for (struct rle_span span = {0}; rle_next(rle, &span);) ... */
struct rle_span {
  int x, y0, y1;
  size_t index;      /* of the next count */
  uint64_t at, left; /* the next pixel of the mask, and how many follow it in the run */
};
bool rle_next(const struct sam3_rle *rle, struct rle_span *span);

/* Rows [y0, y1) of the mask into `tile` uint8 [y1 - y0, width]: `value` in the mask, 0 elsewhere. */
void rle_fill_rows(const struct sam3_rle *rle, int y0, int y1, uint8_t value, uint8_t *tile);

#endif
