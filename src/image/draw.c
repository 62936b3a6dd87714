#include "image/draw.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/rle.h"

/* Hues a golden ratio apart never meet again; three shades make neighbouring hues differ in more than hue. */
struct color color_of(size_t index) {
  static const float saturations[] = {0.75f, 0.55f, 0.95f}, values[] = {1.0f, 0.95f, 0.8f};
  float saturation = saturations[index % 3], value = values[index % 3];
  double hue = fmod(0.6 + (double)index * 0.6180339887498949, 1) * 6;
  struct color color;
  for (int c = 0; c < 3; c++) {
    double k = fmod(5 - 2 * c + hue, 6); /* HSV to RGB, in the form without cases */
    color.rgb[c] = (uint8_t)lround(255 * value * (1 - saturation * fmax(0, fmin(1, fmin(k, 4 - k)))));
  }
  return color;
}

struct color color_on(struct color background) {
  int luma = 299 * background.rgb[0] + 587 * background.rgb[1] + 114 * background.rgb[2];
  uint8_t ink = luma > 140 * 1000 ? 0 : 255;
  return (struct color){{ink, ink, ink}};
}

static void blend(uint8_t *pixel, struct color color, int opacity) {
  for (int c = 0; c < 3; c++)
    pixel[c] = (uint8_t)((pixel[c] * (255 - opacity) + color.rgb[c] * opacity + 127) / 255);
}

static uint8_t *pixel_at(sam3_image *image, int x, int y) {
  return image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

void draw_mask(sam3_image *image, const struct sam3_rle *rle, struct color color, int opacity) {
  for (struct rle_span span = {0}; rle_next(rle, &span);)
    for (int y = span.y0; y < span.y1; y++)
      blend(pixel_at(image, span.x, y), color, opacity);
}

/* The line from a to b, `2 * radius` wide, with round ends, which lies within the part. Lines are joined, not added:
 * an outline that comes close to itself keeps its colour. */
static void cover_line(struct coverage *coverage, const float a[2], const float b[2], float radius) {
  float reach = radius + 1;
  int x0 = (int)floorf(fminf(a[0], b[0]) - reach), x1 = (int)ceilf(fmaxf(a[0], b[0]) + reach);
  int y0 = (int)floorf(fminf(a[1], b[1]) - reach), y1 = (int)ceilf(fmaxf(a[1], b[1]) + reach);
  float dx = b[0] - a[0], dy = b[1] - a[1], length2 = dx * dx + dy * dy;
  for (int y = y0; y < y1; y++)
    for (int x = x0; x < x1; x++) {
      float px = (float)x + 0.5f - a[0], py = (float)y + 0.5f - a[1];
      float t = length2 > 0 ? fminf(fmaxf((px * dx + py * dy) / length2, 0), 1) : 0;
      float distance = sqrtf((px - t * dx) * (px - t * dx) + (py - t * dy) * (py - t * dy));
      int value = (int)(255 * fminf(fmaxf(radius + 0.5f - distance, 0), 1) + 0.5f);
      uint8_t *cell = &coverage->values[(size_t)(y - coverage->y) * coverage->stride + (size_t)(x - coverage->x)];
      if (value > *cell)
        *cell = (uint8_t)value;
    }
}

/* A point on the way from `corner` to `other`: half way, but at most a pixel. */
static void towards(struct point corner, struct point other, float out[2]) {
  int dx = other.x - corner.x, dy = other.y - corner.y;
  float step = fminf(0.5f, 1 / (float)(abs(dx) + abs(dy))); /* one of them is 0 */
  out[0] = (float)corner.x + step * (float)dx;
  out[1] = (float)corner.y + step * (float)dy;
}

/* Corners are cut, which turns staircases into slopes. */
static void cover_ring(struct coverage *coverage, const struct point *points, size_t n, float radius) {
  for (size_t i = 0; i < n; i++) {
    struct point before = points[(i + n - 1) % n], corner = points[i], after = points[(i + 1) % n];
    float in[2], out[2], next[2];
    towards(corner, before, in);
    towards(corner, after, out);
    towards(after, corner, next);
    cover_line(coverage, in, out, radius);
    cover_line(coverage, out, next, radius);
  }
}

void draw_coverage(sam3_image *image, const struct coverage *coverage, struct color color) {
  for (int row = 0; row < coverage->height; row++) {
    int y = coverage->y + row;
    const uint8_t *values = coverage->values + (size_t)row * coverage->stride;
    if (y < 0 || y >= image->height)
      continue;
    for (int column = 0; column < coverage->width; column++) {
      int x = coverage->x + column;
      if (values[column] && x >= 0 && x < image->width)
        blend(pixel_at(image, x, y), color, values[column]);
    }
  }
}

sam3_status draw_outline(sam3_image *image, const struct sam3_rle *rle, struct color color, float width,
                         struct sam3_error *err) {
  struct polygons polygons;
  TRY(polygons_from_rle(rle, &polygons, err));
  struct rle_box box = rle_bounds(rle);
  int margin = (int)ceilf(width / 2) + 2;
  struct coverage coverage = {
      .x = box.x - margin,
      .y = box.y - margin,
      .width = box.width + 2 * margin,
      .height = box.height + 2 * margin,
  };
  coverage.stride = (size_t)coverage.width;
  size_t size = coverage.stride * (size_t)coverage.height;
  coverage.values = mem_zeroed(size, 1);
  sam3_status status = coverage.values ? SAM3_OK : fail_memory(err, size, "an outline");
  if (status == SAM3_OK) {
    for (size_t i = 0; i < polygons.n_rings; i++)
      cover_ring(&coverage, polygons.points + polygons.rings[i].first, polygons.rings[i].n_points, width / 2);
    draw_coverage(image, &coverage, color);
  }
  polygons_free(&polygons);
  free(coverage.values);
  return status;
}

void draw_rounded_box(sam3_image *image, int x, int y, int width, int height, float radius, struct color color) {
  for (int v = y < 0 ? 0 : y; v < y + height && v < image->height; v++)
    for (int u = x < 0 ? 0 : x; u < x + width && u < image->width; u++) {
      /* How far the pixel's centre lies beyond the rectangle on which the corners' circles have their centres. */
      float dx = fmaxf(fmaxf((float)(x - u) - 0.5f + radius, (float)(u - x - width) + 0.5f + radius), 0);
      float dy = fmaxf(fmaxf((float)(y - v) - 0.5f + radius, (float)(v - y - height) + 0.5f + radius), 0);
      float cover = dx > 0 && dy > 0 ? fminf(fmaxf(radius + 0.5f - sqrtf(dx * dx + dy * dy), 0), 1) : 1;
      blend(pixel_at(image, u, v), color, (int)(255 * cover + 0.5f));
    }
}
