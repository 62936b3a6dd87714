/* Resizes, masks, run lengths and polygons against torch and pycocotools. */
#include "fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "image/mask.h"
#include "image/polygons.h"
#include "image/resize.h"
#include "image/rle.h"

static uint64_t fnv(const uint8_t *bytes, size_t size) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size; i++)
    hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

static void test_resize(void **state) {
  (void)state;
  FILE *list = fixture_open("resizes.txt");
  int width, height, size, n = 0;
  unsigned long long hash;
  for (; fscanf(list, "%d %d %d %llx", &width, &height, &size, &hash) == 4; n++) {
    size_t bytes = 3 * (size_t)width * (size_t)height, out_bytes = 3 * (size_t)size * (size_t)size;
    uint8_t *pixels = malloc(bytes), *out = malloc(out_bytes);
    uint64_t seed = (uint64_t)(width * 1000 + height);
    for (size_t i = 0; i < bytes; i++)
      pixels[i] = (uint8_t)lcg_next(&seed);
    struct sam3_error err;
    sam3_image *image;
    assert_ok(sam3_image_from_rgb(pixels, width, height, &image, &err));
    assert_ok(resize_square(image, size, out, &err));
    if (fnv(out, out_bytes) != hash)
      fail_msg("%d x %d to %d: not what torch makes of it", width, height, size);
    assert_int_equal(resize_square(image, 0, out, &err), SAM3_ERR_ARGUMENT);
    sam3_image_free(image);
    free(pixels);
    free(out);
  }
  assert_true(n > 10);
  fclose(list);
}

/* The same exact numbers as logits_of() of tools/make_image_fixtures.py. */
static float *logits_of(const char *kind, int h, int w) {
  float *logits = calloc((size_t)h * (size_t)w, sizeof *logits);
  uint64_t seed = (uint64_t)(h * 1000 + w);
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++) {
      int noise = (int)(lcg_next(&seed) % 1024) - 512;
      int dx = (2 * x - w) * (2 * x - w), dy = (2 * y - h) * (2 * y - h);
      float disc = (float)(h * w / 8 - dx / 4 - dy / 4) / 64;
      logits[y * w + x] = !strcmp(kind, "noise") ? (float)noise / 64 : !strcmp(kind, "disc") ? disc : disc * 0x1p-26f;
    }
  return logits;
}

static void test_masks(void **state) {
  (void)state;
  FILE *list = fixture_open("masks.txt");
  char kind[10], counts[60000];
  int h, w, height, width, n = 0;
  unsigned long long expected_area;
  for (; fscanf(list, "%9s %d %d %d %d %llu %59999s", kind, &h, &w, &height, &width, &expected_area, counts) == 7;
       n++) {
    float *logits = logits_of(kind, h, w);
    struct sam3_rle rle;
    struct sam3_error err;
    uint64_t area;
    char *text;
    assert_ok(mask_from_logits(logits, h, w, height, width, &rle, &area, &err));
    assert_ok(sam3_rle_to_string(&rle, &text, &err));
    if (area != expected_area || strcmp(text, counts))
      fail_msg("%s %d x %d to %d x %d: area %llu, expected %llu\n%s\n%s", kind, h, w, height, width,
               (unsigned long long)area, expected_area, text, counts);
    free(text);
    rle_free(&rle);
    free(logits);
  }
  assert_true(n > 20);
  fclose(list);
}

static void test_mask_of_nan(void **state) {
  (void)state;
  const float logits[] = {NAN, 1, 1, 1, NAN, NAN, 1, 1, 1};
  struct sam3_rle rle;
  struct sam3_error err;
  uint64_t area;
  assert_ok(mask_from_logits(logits, 3, 3, 3, 3, &rle, &area, &err));
  uint8_t rows[9];
  rle_fill_rows(&rle, 0, 3, 1, rows);
  for (int i = 0; i < 9; i++) /* at equal size 0 * NaN of the next value counts too, as in torch */
    assert_true(!rows[i] || !isnan(logits[i]));
  rle_free(&rle);
  assert_int_equal(mask_from_logits(logits, 0, 3, 3, 3, &rle, &area, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(mask_from_logits(logits, 3, 3, 100000, 100000, &rle, &area, &err), SAM3_ERR_LIMIT);
  assert_null(rle.counts);
}

static void append_noise(struct sam3_rle *rle, int width, int height, uint64_t seed, int share) {
  struct rle_builder builder;
  struct sam3_error err;
  uint8_t *noise = malloc((size_t)width * (size_t)height);
  for (int i = 0; i < width * height; i++)
    noise[i] = (uint8_t)lcg_next(&seed);
  assert_ok(rle_begin(&builder, rle, width, height, &err));
  for (int x = 0; x < width; x++)
    for (int y = 0; y < height; y++)
      assert_ok(rle_append(&builder, 1, noise[y * width + x] < share, &err));
  assert_ok(rle_end(&builder, &err));
  free(noise);
}

static void test_rle(void **state) {
  (void)state;
  FILE *list = fixture_open("rles.txt");
  int width, height, share, x, y, w, h, n = 0, last_width = 0;
  unsigned long long area;
  uint64_t seed = UINT64_MAX;
  char counts[10000];
  for (; fscanf(list, "%d %d %d %d %d %d %d %llu %9999s", &width, &height, &share, &x, &y, &w, &h, &area, counts) == 9;
       n++) {
    seed += share == 0;
    struct sam3_rle rle, decoded;
    struct sam3_error err;
    char *text;
    append_noise(&rle, width, height, seed, share);
    assert_ok(sam3_rle_to_string(&rle, &text, &err));
    assert_string_equal(text, counts);
    free(text);
    assert_int_equal(rle_area(&rle), area);
    struct rle_box box = rle_bounds(&rle);
    assert_true(box.x == x && box.y == y && box.width == w && box.height == h);
    assert_ok(rle_from_string(counts, strlen(counts), width, height, &decoded, &err));
    assert_int_equal(decoded.n_counts, rle.n_counts);
    assert_memory_equal(decoded.counts, rle.counts, rle.n_counts * sizeof *rle.counts);
    for (size_t cut = 1; cut <= strlen(counts); cut++) /* what is cut off is missed */
      assert_int_equal(rle_from_string(counts, strlen(counts) - cut, width, height, &(struct sam3_rle){0}, &err),
                       SAM3_ERR_FORMAT);
    assert_int_equal(rle_from_string(counts, strlen(counts), width, height + 1, &(struct sam3_rle){0}, &err),
                     SAM3_ERR_FORMAT);
    rle_free(&decoded);
    rle_free(&rle);
    last_width = width;
  }
  assert_true(n == 32 && last_width == 33);
  fclose(list);
}

static void test_rle_refusals(void **state) {
  (void)state;
  static const char *const bad[] = {"", "/", "p", "oooooooo1", "oooooooooooo", "5", "O", "1O", "000O", "e0", "\xff"};
  struct sam3_rle rle;
  struct sam3_error err;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (rle_from_string(bad[i], strlen(bad[i]), 2, 2, &rle, &err) != SAM3_ERR_FORMAT || rle.counts)
      fail_msg("\"%s\" was taken for run lengths", bad[i]);
  size_t size;
  uint8_t *longest = fixture_read("longest_run.txt", &size);
  assert_ok(rle_from_string((char *)longest, size, 65537, 65535, &rle, &err));
  assert_int_equal(rle.counts[1], UINT32_MAX);
  char *text;
  assert_ok(sam3_rle_to_string(&rle, &text, &err));
  assert_string_equal(text, (char *)longest);
  free(text);
  free(longest);
  rle.counts[1]--;
  assert_int_equal(sam3_rle_to_string(&rle, &text, &err), SAM3_ERR_ARGUMENT);
  rle_free(&rle);
  assert_int_equal(rle_from_string("0", 1, 65537, 65536, &rle, &err), SAM3_ERR_LIMIT);
}

/* Independent of the tracer: a pixel is inside when an odd number of the ring's horizontal edges lie above it. */
static void toggle_ring(const struct polygons *polygons, const struct ring *ring, int width, int height,
                        uint8_t *pixels) {
  const struct point *points = polygons->points + ring->first;
  for (size_t i = 0; i < ring->n_points; i++) {
    struct point a = points[i], b = points[(i + 1) % ring->n_points], c = points[(i + 2) % ring->n_points];
    assert_true((a.x == b.x) != (a.y == b.y));
    assert_true((a.x == b.x) == (b.y == c.y)); /* a right angle at every point */
    if (a.y == b.y)
      for (int x = a.x < b.x ? a.x : b.x; x < (a.x < b.x ? b.x : a.x); x++)
        for (int y = a.y; y < height; y++)
          pixels[y * width + x] ^= 1;
  }
}

/* Four-connected parts, counted by flooding. */
static size_t count_parts(const uint8_t *mask, int width, int height) {
  uint8_t *left = malloc((size_t)width * (size_t)height);
  int *stack = malloc(sizeof *stack * 4 * ((size_t)width * (size_t)height + 1));
  memcpy(left, mask, (size_t)width * (size_t)height);
  size_t parts = 0;
  for (int start = 0; start < width * height; start++) {
    int n = 0;
    parts += left[start];
    stack[n++] = start;
    while (n) {
      int at = stack[--n], x = at % width;
      if (!left[at])
        continue;
      left[at] = 0;
      if (x)
        stack[n++] = at - 1;
      if (x < width - 1)
        stack[n++] = at + 1;
      if (at >= width)
        stack[n++] = at - width;
      if (at < width * (height - 1))
        stack[n++] = at + width;
    }
  }
  free(left);
  free(stack);
  return parts;
}

static void check_polygons(const struct sam3_rle *rle) {
  size_t size = (size_t)rle->width * (size_t)rle->height;
  uint8_t *mask = malloc(size), *filled = calloc(size, 1), *ring_pixels = malloc(size);
  struct polygons polygons;
  struct sam3_error err;
  rle_fill_rows(rle, 0, rle->height, 1, mask);
  assert_ok(polygons_from_rle(rle, &polygons, &err));
  size_t parts = 0;
  for (size_t r = 0; r < polygons.n_rings; r++) {
    const struct ring *ring = &polygons.rings[r];
    parts += !ring->hole;
    assert_true(ring->hole ? r > 0 && polygons.rings[r - 1].part == ring->part
                           : !r || polygons.rings[r - 1].part < ring->part);
    memset(ring_pixels, 0, size);
    toggle_ring(&polygons, ring, rle->width, rle->height, ring_pixels);
    int64_t doubled = 0, pixels = 0;
    for (size_t i = 0; i < ring->n_points; i++) {
      struct point a = polygons.points[ring->first + i], b = polygons.points[ring->first + (i + 1) % ring->n_points];
      doubled += (int64_t)a.x * b.y - (int64_t)b.x * a.y;
    }
    for (size_t i = 0; i < size; i++) {
      pixels += ring_pixels[i];
      filled[i] ^= ring_pixels[i];
    }
    assert_int_equal(doubled, ring->hole ? -2 * pixels : 2 * pixels); /* clockwise outside, the other way inside */
  }
  assert_memory_equal(filled, mask, size);
  assert_int_equal(parts, count_parts(mask, rle->width, rle->height));
  polygons_free(&polygons);
  free(mask);
  free(filled);
  free(ring_pixels);
}

static void test_polygons(void **state) {
  (void)state;
  for (int i = 0; i < 600; i++) {
    struct sam3_rle rle;
    append_noise(&rle, 1 + i % 23, 1 + i % 17, (uint64_t)i, i * 37 % 257);
    check_polygons(&rle);
    rle_free(&rle);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resize), cmocka_unit_test(test_masks),        cmocka_unit_test(test_mask_of_nan),
      cmocka_unit_test(test_rle),    cmocka_unit_test(test_rle_refusals), cmocka_unit_test(test_polygons),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
