/* Any text as COCO run lengths: what is accepted gives the same text again, its size in pixels and whole polygons. */
#include <stdlib.h>
#include <string.h>

#include "image/polygons.h"
#include "image/rle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
  if (!condition)
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2)
    return 0;
  struct sam3_rle rle, again;
  struct sam3_error err = {0};
  int width = data[0], height = data[1];
  if (rle_from_string((const char *)data + 2, size - 2, width, height, &rle, &err) != SAM3_OK) {
    require(!rle.counts && *err.message);
    return 0;
  }
  require(rle_check(&rle, width, height, "input", &err) == SAM3_OK);
  char *text;
  require(sam3_rle_to_string(&rle, &text, &err) == SAM3_OK);
  require(rle_from_string(text, strlen(text), width, height, &again, &err) == SAM3_OK);
  require(again.n_counts == rle.n_counts && !memcmp(again.counts, rle.counts, rle.n_counts * sizeof *rle.counts));
  static uint8_t rows[256 * 256];
  rle_fill_rows(&rle, 0, height, 1, rows);
  uint64_t area = 0;
  for (int i = 0; i < width * height; i++)
    area += rows[i];
  require(area == rle_area(&rle));
  struct polygons polygons;
  require(polygons_from_rle(&rle, &polygons, &err) == SAM3_OK);
  int64_t doubled = 0;
  for (size_t r = 0; r < polygons.n_rings; r++)
    for (size_t i = 0; i < polygons.rings[r].n_points; i++) {
      const struct point *points = polygons.points + polygons.rings[r].first;
      struct point a = points[i], b = points[(i + 1) % polygons.rings[r].n_points];
      doubled += (int64_t)a.x * b.y - (int64_t)b.x * a.y;
    }
  require(doubled == 2 * (int64_t)area);
  polygons_free(&polygons);
  rle_free(&again);
  rle_free(&rle);
  free(text);
  return 0;
}
