#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/codec.h"
#include "image/draw.h"
#include "image/file.h"
#include "image/results.h"
#include "image/rle.h"

#define MASK_OPACITY 100 /* of 255 */
#define MASK_TILE_BYTES ((size_t)1 << 20)

typedef sam3_status encode_fn(const struct picture *picture, FILE *stream, const char *name, struct sam3_error *err);

static sam3_status write_picture(const char *path, encode_fn *encode, const struct picture *picture,
                                 struct sam3_error *err) {
  struct new_file file;
  TRY(file_create(&file, path, err));
  return file_finish(&file, encode(picture, file.stream, path, err), err);
}

/* Detections of all prompts in one list; the place in it chooses the colour. */
struct mark {
  const struct sam3_detection *detection;
  const char *label;
  struct rle_box box; /* around the mask, or the detection's box when the mask is empty */
  struct line line;   /* label and score */
  struct rle_box tag; /* around them */
};

static int pixel(float value, int limit) {
  return (int)fminf(fmaxf(value, 0), (float)limit);
}

static struct rle_box bounds_of(const struct sam3_detection *detection) {
  struct rle_box box = rle_bounds(&detection->mask);
  if (!box.width) {
    box.x = pixel(detection->box[0], detection->mask.width);
    box.y = pixel(detection->box[1], detection->mask.height);
    box.width = pixel(detection->box[2], detection->mask.width) - box.x;
    box.height = pixel(detection->box[3], detection->mask.height) - box.y;
  }
  return box;
}

static sam3_status collect(const struct sam3_results *results, struct mark **marks, size_t *n, struct sam3_error *err) {
  *n = 0;
  for (size_t i = 0; i < results->n_items; i++)
    *n += results->items[i].n_detections;
  struct mark *mark = *marks = mem_zeroed(*n, sizeof *mark);
  if (!mark)
    return fail_memory(err, *n * sizeof *mark, "an overlay");
  for (size_t i = 0; i < results->n_items; i++)
    for (size_t k = 0; k < results->items[i].n_detections; k++, mark++) {
      mark->detection = &results->items[i].detections[k];
      mark->label = result_label(&results->items[i]);
      mark->box = bounds_of(mark->detection);
    }
  return SAM3_OK;
}

static bool overlap(struct rle_box a, struct rle_box b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

static int clamp(int value, int low, int high) {
  return value > high ? (high > low ? high : low) : value < low ? low : value;
}

/* Above the object, inside at its top, inside at its bottom or below it: the first place in the image that meets no
 * earlier tag, or else the first of all. */
static struct rle_box place_tag(const sam3_image *image, const struct mark *marks, size_t i, int width, int height) {
  struct rle_box box = marks[i].box, first = {0};
  const int tops[] = {box.y - height, box.y, box.y + box.height - height, box.y + box.height};
  for (int t = 0; t < 4; t++) {
    struct rle_box tag = {clamp(box.x, 0, image->width - width), clamp(tops[t], 0, image->height - height), width,
                          height};
    if (!t)
      first = tag;
    size_t k = 0;
    while (k < i && !overlap(tag, marks[k].tag))
      k++;
    if (k == i)
      return tag;
  }
  return first;
}

static sam3_status place_tags(const sam3_image *image, struct typeface *typeface, int padding, struct mark *marks,
                              size_t n, struct sam3_error *err) {
  for (size_t i = 0; i < n; i++) {
    char score[16];
    snprintf(score, sizeof score, " %.2f", marks[i].detection->score);
    TRY(line_fit(typeface, marks[i].label, score, image->width - 2 * padding, &marks[i].line, err));
    marks[i].tag = place_tag(image, marks, i, marks[i].line.width + 2 * padding, typeface_height(typeface));
  }
  return SAM3_OK;
}

static sam3_status draw_tags(sam3_image *image, struct mark *marks, size_t n, struct sam3_error *err) {
  int side = image->width < image->height ? image->width : image->height;
  int pixels = clamp(side / 36, 12, 72), padding = pixels / 3;
  struct typeface *typeface;
  TRY(typeface_create(&typeface, pixels, err));
  sam3_status status = place_tags(image, typeface, padding, marks, n, err);
  for (size_t i = n; i-- > 0 && status == SAM3_OK;) {
    struct rle_box tag = marks[i].tag;
    struct color color = color_of(i);
    draw_rounded_box(image, tag.x, tag.y, tag.width, tag.height, (float)pixels / 4, color);
    status = draw_line(image, typeface, &marks[i].line, tag.x + padding, tag.y + typeface_ascent(typeface),
                       color_on(color), err);
  }
  typeface_free(typeface);
  return status;
}

/* The best detections are drawn last, on top; their tags choose their places first. */
static sam3_status draw_marks(sam3_image *image, struct mark *marks, size_t n, struct sam3_error *err) {
  int side = image->width < image->height ? image->width : image->height;
  float line_width = fmaxf(1.5f, (float)side / 300);
  for (size_t i = n; i-- > 0;)
    draw_mask(image, &marks[i].detection->mask, color_of(i), MASK_OPACITY);
  for (size_t i = n; i-- > 0;)
    TRY(draw_outline(image, &marks[i].detection->mask, color_of(i), line_width, err));
  return draw_tags(image, marks, n, err);
}

static encode_fn *encoder_of(const char *path) {
  const char *dot = strrchr(path, '.');
  if (dot && !strcasecmp(dot, ".png"))
    return encode_png;
  return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg")) ? encode_jpeg : NULL;
}

static const uint8_t *image_row(void *of, int y) {
  const sam3_image *image = of;
  return image->pixels + (size_t)y * (size_t)image->width * 3;
}

sam3_status sam3_results_overlay(const struct sam3_results *results, const sam3_image *image, const char *path,
                                 struct sam3_error *err) {
  encode_fn *encode = encoder_of(path);
  if (!encode)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: an overlay ends in .png, .jpg or .jpeg", path);
  if (image->width != results->width || image->height != results->height)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: results of %d x %d pixels on an image of %d x %d", path, results->width,
                results->height, image->width, image->height);
  TRY(results_check(results, err));
  struct mark *marks;
  size_t n;
  TRY(collect(results, &marks, &n, err));
  sam3_image *drawing;
  sam3_status status = sam3_image_from_rgb(image->pixels, image->width, image->height, &drawing, err);
  if (status == SAM3_OK)
    status = draw_marks(drawing, marks, n, err);
  struct picture picture = {
      .width = image->width, .height = image->height, .channels = 3, .row = image_row, .of = drawing};
  if (status == SAM3_OK)
    status = write_picture(path, encode, &picture, err);
  sam3_image_free(drawing);
  free(marks);
  return status;
}

/* A mask, filled in some rows at a time. */
struct mask_rows {
  const struct sam3_rle *rle;
  uint8_t *tile;
  int tile_rows;
};

static const uint8_t *mask_row(void *of, int y) {
  struct mask_rows *rows = of;
  int line = y % rows->tile_rows;
  if (!line) {
    int end = y < rows->rle->height - rows->tile_rows ? y + rows->tile_rows : rows->rle->height;
    rle_fill_rows(rows->rle, y, end, 255, rows->tile);
  }
  return rows->tile + (size_t)line * (size_t)rows->rle->width;
}

/* `path` has room for `size` characters. */
static sam3_status write_masks(const struct sam3_results *results, const char *directory, const char *stem, char *path,
                               size_t size, struct mask_rows *rows, struct sam3_error *err) {
  for (size_t i = 0; i < results->n_items; i++)
    for (size_t k = 0; k < results->items[i].n_detections; k++) {
      snprintf(path, size, "%s/%s-%zu-%zu.png", directory, stem, i, k);
      rows->rle = &results->items[i].detections[k].mask;
      struct picture picture = {
          .width = results->width, .height = results->height, .channels = 1, .row = mask_row, .of = rows};
      TRY(write_picture(path, encode_png, &picture, err));
    }
  return SAM3_OK;
}

sam3_status sam3_results_write_masks(const struct sam3_results *results, const char *directory, const char *stem,
                                     struct sam3_error *err) {
  if (strchr(stem, '/'))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: the names of masks cannot hold a slash", stem);
  TRY(results_check(results, err));
  if (results->width < 1 || results->height < 1)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: results of an image of %d x %d pixels", stem, results->width,
                results->height);
  size_t path_size = strlen(directory) + strlen(stem) + 64, fitting = MASK_TILE_BYTES / (size_t)results->width;
  struct mask_rows rows = {.tile_rows = clamp(fitting < INT_MAX ? (int)fitting : INT_MAX, 1, results->height)};
  size_t tile_size = (size_t)rows.tile_rows * (size_t)results->width;
  char *path = mem_alloc(path_size);
  rows.tile = mem_alloc(tile_size);
  sam3_status status = path && rows.tile ? write_masks(results, directory, stem, path, path_size, &rows, err)
                                         : fail_memory(err, path_size + tile_size, "mask images");
  free(path);
  free(rows.tile);
  return status;
}
