#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "image/rle.h"

FILE *fixture_open(const char *name) {
  char path[1000];
  snprintf(path, sizeof path, "%s/%s", FIXTURES, name);
  FILE *file = fopen(path, "rb");
  if (!file)
    fail_msg("%s cannot be opened", path);
  return file;
}

uint8_t *fixture_read(const char *name, size_t *size) {
  FILE *file = fixture_open(name);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  uint8_t *bytes = calloc(*size + 1, 1);
  assert_int_equal(fread(bytes, 1, *size, file), *size);
  fclose(file);
  return bytes;
}

uint32_t lcg_next(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 33);
}

static struct sam3_rle rle_of(const char *const *rows, int width, int height) {
  struct sam3_rle rle;
  struct rle_builder builder;
  struct sam3_error err;
  assert_ok(rle_begin(&builder, &rle, width, height, &err));
  for (int x = 0; x < width; x++)
    for (int y = 0; y < height; y++)
      assert_ok(rle_append(&builder, 1, rows[y][x] == '#', &err));
  assert_ok(rle_end(&builder, &err));
  return rle;
}

struct sam3_results *small_results(void) {
  static const char *const ring[] = {"###...", "#.#..#", "###...", "......", "......"};
  static const char *const none[] = {"......", "......", "......", "......", "......"};
  struct sam3_results *results = calloc(1, sizeof *results);
  results->width = 6;
  results->height = 5;
  results->n_items = 2;
  results->items = calloc(2, sizeof *results->items);
  struct sam3_result *cat = &results->items[0], *visual = &results->items[1];
  cat->text = strdup("a \"cat\"");
  cat->presence = 0.75f;
  cat->n_detections = 1;
  cat->detections = calloc(1, sizeof *cat->detections);
  *cat->detections = (struct sam3_detection){
      .query = 7, .score = 0.1f, .box = {-0.5f, 0, 6, 3.25f}, .area = 9, .mask = rle_of(ring, 6, 5)};
  visual->presence = 1;
  visual->n_boxes = 2;
  visual->boxes = calloc(2, sizeof *visual->boxes);
  visual->boxes[0] = (struct sam3_box){1, 2, 3, 4.5f, true};
  visual->boxes[1] = (struct sam3_box){0, 0, 1, 1, false};
  visual->n_detections = 1;
  visual->detections = calloc(1, sizeof *visual->detections);
  *visual->detections =
      (struct sam3_detection){.query = 0, .score = 0.5f, .box = {1, 1, 2, 2}, .mask = rle_of(none, 6, 5)};
  return results;
}
