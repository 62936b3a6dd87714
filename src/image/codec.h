/* The file formats: decoders, the canvas on which they put their rows, and encoders. */
#ifndef SAM3_IMAGE_CODEC_H
#define SAM3_IMAGE_CODEC_H

#include <stdio.h>

#include "image/image.h"

/* An encoded image. */
struct source {
  const uint8_t *bytes;
  size_t size;
  const char *name;
  uint64_t max_pixels;
};

/* Each takes a file that begins with its format's signature. On failure `*image` stays NULL: SAM3_ERR_FORMAT for
 * damaged or truncated files, SAM3_ERR_UNSUPPORTED, SAM3_ERR_LIMIT (before memory is taken), SAM3_ERR_MEMORY. */
sam3_status decode_jpeg(const struct source *source, sam3_image **image, struct sam3_error *err);
sam3_status decode_png(const struct source *source, sam3_image **image, struct sam3_error *err);
/* The first frame of an animation. */
sam3_status decode_webp(const struct source *source, sam3_image **image, struct sam3_error *err);

/* The Orientation (1 to 8) of EXIF data: a TIFF file, with or without "Exif\0\0" before it. 1 when there is none. */
int exif_orientation(const uint8_t *exif, size_t size);

/* An image that is filled in the order of the file and stands upright. */
struct canvas {
  sam3_image *image;
  uint8_t *first;           /* where the file's pixel (0, 0) goes */
  ptrdiff_t step_x, step_y; /* bytes from there to the next pixel of the file's row and column */
};

/* `width` and `height` are the file's. The caller owns canvas->image. */
sam3_status canvas_create(struct canvas *canvas, const struct source *source, uint64_t width, uint64_t height,
                          int orientation, struct sam3_error *err);
/* Puts `n` pixels at column `x` of row `y`, both as in the file; RGBA is blended over white. */
void canvas_put_rgb(const struct canvas *canvas, size_t x, size_t y, size_t n, const uint8_t *rgb);
void canvas_put_rgba(const struct canvas *canvas, size_t x, size_t y, size_t n, const uint8_t *rgba);

/* What to encode, asked for row by row from the top. */
struct picture {
  int width, height;
  int channels;                           /* 1 grey, 3 RGB */
  const uint8_t *(*row)(void *of, int y); /* uint8 [width, channels], valid until the next call */
  void *of;
};

/* Write to `stream`; `name` is used in messages. SAM3_ERR_IO, SAM3_ERR_MEMORY, SAM3_ERR_UNSUPPORTED (a JPEG has at
 * most 65,500 pixels a side). */
sam3_status encode_png(const struct picture *picture, FILE *stream, const char *name, struct sam3_error *err);
sam3_status encode_jpeg(const struct picture *picture, FILE *stream, const char *name, struct sam3_error *err);

#endif
