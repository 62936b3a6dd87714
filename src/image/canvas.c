#include <string.h>

#include "base/error.h"
#include "image/codec.h"

static uint32_t read_uint(const uint8_t *p, int bytes, bool little_endian) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; i++)
    value = value << 8 | p[little_endian ? bytes - 1 - i : i];
  return value;
}

/* Tag 0x0112, a SHORT in the first directory: TIFF 6.0, "Image File Directory", and EXIF 2.3, 4.6.4 A. */
int exif_orientation(const uint8_t *exif, size_t size) {
  if (size >= 6 && !memcmp(exif, "Exif\0\0", 6)) {
    exif += 6;
    size -= 6;
  }
  if (size < 8 || (memcmp(exif, "II*\0", 4) && memcmp(exif, "MM\0*", 4)))
    return 1;
  bool little = *exif == 'I';
  size_t at = read_uint(exif + 4, 4, little);
  if (at > size - 2)
    return 1;
  size_t entries = read_uint(exif + at, 2, little);
  for (at += 2; entries && size - at >= 12; at += 12, entries--)
    if (read_uint(exif + at, 2, little) == 0x0112 && read_uint(exif + at + 2, 2, little) == 3) {
      uint32_t value = read_uint(exif + at + 8, 2, little);
      return value >= 1 && value <= 8 ? (int)value : 1;
    }
  return 1;
}

sam3_status canvas_create(struct canvas *canvas, const struct source *source, uint64_t width, uint64_t height,
                          int orientation, struct sam3_error *err) {
  bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  bool transpose = orientation >= 5;
  TRY(image_create(transpose ? height : width, transpose ? width : height, source->name, source->max_pixels,
                   &canvas->image, err));
  ptrdiff_t pixel = 3, row = pixel * canvas->image->width;
  canvas->step_x = transpose ? row : pixel;
  canvas->step_y = transpose ? pixel : row;
  canvas->first = canvas->image->pixels;
  if (mirror_x) {
    canvas->first += canvas->step_x * (ptrdiff_t)(width - 1);
    canvas->step_x = -canvas->step_x;
  }
  if (mirror_y) {
    canvas->first += canvas->step_y * (ptrdiff_t)(height - 1);
    canvas->step_y = -canvas->step_y;
  }
  return SAM3_OK;
}

static uint8_t *canvas_at(const struct canvas *canvas, size_t x, size_t y) {
  return canvas->first + canvas->step_x * (ptrdiff_t)x + canvas->step_y * (ptrdiff_t)y;
}

void canvas_put_rgb(const struct canvas *canvas, size_t x, size_t y, size_t n, const uint8_t *rgb) {
  uint8_t *out = canvas_at(canvas, x, y);
  if (canvas->step_x == 3)
    memcpy(out, rgb, n * 3);
  else
    for (size_t i = 0; i < n; i++)
      memcpy(out + (ptrdiff_t)i * canvas->step_x, rgb + 3 * i, 3);
}

void canvas_put_rgba(const struct canvas *canvas, size_t x, size_t y, size_t n, const uint8_t *rgba) {
  uint8_t *out = canvas_at(canvas, x, y);
  for (size_t i = 0; i < n; i++, rgba += 4)
    for (int c = 0; c < 3; c++)
      out[(ptrdiff_t)i * canvas->step_x + c] = (uint8_t)((rgba[c] * rgba[3] + 255 * (255 - rgba[3]) + 127) / 255);
}
