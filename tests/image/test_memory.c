/* Every allocation of every function of the room is made to fail once, first ours, then those of the libraries below:
 * each time SAM3_ERR_MEMORY (or a sound result, where a library does without), nothing left behind. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "image/mask.h"
#include "image/polygons.h"
#include "image/resize.h"
#include "image/rle.h"

/* Under sanitizers malloc is theirs. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#if !defined(OWN_MALLOC) && defined(__GLIBC__)
#define OWN_MALLOC 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static size_t system_asked, system_fails_at;

static bool system_refuses(void) {
  errno = ENOMEM;
  return ++system_asked == system_fails_at;
}

void *malloc(size_t size) {
  return system_refuses() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  return system_refuses() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
  return system_refuses() ? NULL : __libc_realloc(block, size);
}

static size_t fail_system_at(size_t n) {
  size_t asked = system_asked;
  system_asked = 0;
  system_fails_at = n;
  return asked;
}
#endif

static size_t fail_ours_at(size_t n) {
  return mem_fail_at(n, false);
}

struct input {
  uint8_t *bytes;
  size_t size;
  sam3_image *image;
  struct sam3_results *results;
  sam3_format format;
};

static struct sam3_error err;

static sam3_status decode(const struct input *in) {
  sam3_image *image;
  sam3_status status = sam3_image_decode(in->bytes, in->size, "file", 0, &image, &err);
  assert_int_equal(status == SAM3_OK, image != NULL);
  sam3_image_free(image);
  return status;
}

static sam3_status read_file(const struct input *in) {
  (void)in;
  sam3_image *image;
  sam3_status status = sam3_image_read(FIXTURES "/one_pixel.jpg", 0, &image, &err);
  sam3_image_free(image);
  return status;
}

static sam3_status resize(const struct input *in) {
  uint8_t out[8 * 8 * 3];
  return resize_square(in->image, 8, out, &err);
}

static sam3_status make_mask(const struct input *in) {
  (void)in;
  static float logits[64];
  for (int i = 0; i < 64; i++)
    logits[i] = (float)(i * 7 % 5 - 2);
  struct sam3_rle rle;
  uint64_t area;
  sam3_status status = mask_from_logits(logits, 8, 8, 60, 60, &rle, &area, &err);
  assert_true(status == SAM3_OK || !rle.counts);
  rle_free(&rle);
  return status;
}

static sam3_status outline(const struct input *in) {
  struct polygons polygons;
  sam3_status status = polygons_from_rle(&in->results->items[0].detections[0].mask, &polygons, &err);
  polygons_free(&polygons);
  return status;
}

static sam3_status decode_rle(const struct input *in) {
  (void)in;
  struct sam3_rle rle;
  sam3_status status = rle_from_string("n0", 2, 6, 5, &rle, &err);
  rle_free(&rle);
  return status;
}

static sam3_status format(const struct input *in) {
  char *text;
  sam3_status status = sam3_results_format(in->results, in->format, "m", "bad \xff", &text, &err);
  assert_int_equal(status == SAM3_OK, text != NULL);
  free(text);
  return status;
}

static sam3_status overlay_png(const struct input *in) {
  sam3_status status = sam3_results_overlay(in->results, in->image, "memory_test.png", &err);
  assert_int_equal(access("memory_test.png", F_OK) == 0, status == SAM3_OK);
  if (status == SAM3_OK) { /* FreeType may do without a module: the drawing is the same */
    static uint8_t first[4096], now[4096];
    static ssize_t first_size;
    int file = open("memory_test.png", O_RDONLY);
    ssize_t size = read(file, first_size ? now : first, sizeof now);
    close(file);
    assert_true(size > 0 && size < (ssize_t)sizeof now);
    if (first_size)
      assert_memory_equal(now, first, size);
    first_size = size;
  }
  unlink("memory_test.png");
  return status;
}

static sam3_status overlay_jpeg(const struct input *in) {
  sam3_status status = sam3_results_overlay(in->results, in->image, "memory_test.jpg", &err);
  unlink("memory_test.jpg");
  return status;
}

static sam3_status write_masks(const struct input *in) {
  sam3_status status = sam3_results_write_masks(in->results, ".", "memory_test", &err);
  unlink("memory_test-0-0.png");
  unlink("memory_test-1-0.png");
  return status;
}

enum tolerance {
  STRICT,  /* only SAM3_ERR_MEMORY will do */
  WITHOUT, /* or the library below does without: a sound result */
  ANY,     /* or the library says no more than that it failed, as WebP's demuxer does */
};

static void each_failure(const char *what, sam3_status (*call)(const struct input *), const struct input *in,
                         size_t (*fail_at)(size_t), enum tolerance tolerance) {
  assert_ok(call(in));
  fail_at(0);
  assert_ok(call(in));
  size_t n = fail_at(0), failures = 0;
  for (size_t i = 1; i <= n; i++) {
    fail_at(i);
    sam3_status status = call(in);
    fail_at(0);
    failures += status != SAM3_OK;
    bool fine = status == SAM3_ERR_MEMORY || (status == SAM3_OK && tolerance != STRICT) || tolerance == ANY;
    if (!fine || (status != SAM3_OK && !*err.message))
      fail_msg("%s: allocation %zu of %zu failed: %s, %s", what, i, n, sam3_status_name(status), err.message);
  }
  assert_true(failures > 0);
}

static void each_call(size_t (*fail_at)(size_t), enum tolerance tolerance) {
  static const char *const files[] = {"progressive.jpg",  "exif6.jpg",           "cmyk.jpg",
                                      "rgba16.png",       "rgb_interlaced.png",  "exif6.png",
                                      "alpha_lossy.webp", "alpha_lossless.webp", "exif8.webp"};
  struct input in = {.results = small_results()};
  static const uint8_t pixels[6 * 5 * 3];
  assert_ok(sam3_image_from_rgb(pixels, 6, 5, &in.image, &err));
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    in.bytes = fixture_read(files[i], &in.size);
    each_failure(files[i], decode, &in, fail_at, tolerance);
    free(in.bytes);
  }
  each_failure("read", read_file, &in, fail_at, tolerance);
  each_failure("resize", resize, &in, fail_at, tolerance);
  each_failure("mask", make_mask, &in, fail_at, tolerance);
  each_failure("polygons", outline, &in, fail_at, tolerance);
  each_failure("rle_from_string", decode_rle, &in, fail_at, tolerance);
  for (int i = SAM3_FORMAT_JSON; i <= SAM3_FORMAT_POLYGONS; i++) {
    in.format = (sam3_format)i;
    each_failure("format", format, &in, fail_at, tolerance);
  }
  each_failure("PNG overlay", overlay_png, &in, fail_at, tolerance == STRICT ? WITHOUT : tolerance);
  each_failure("JPEG overlay", overlay_jpeg, &in, fail_at, tolerance == STRICT ? WITHOUT : tolerance);
  each_failure("masks", write_masks, &in, fail_at, tolerance);
  sam3_image_free(in.image);
  sam3_results_free(in.results);
}

static void test_ours(void **state) {
  (void)state;
  each_call(fail_ours_at, STRICT);
}

static void test_libraries(void **state) {
  (void)state;
#if OWN_MALLOC
  each_call(fail_system_at, ANY);
#else
  skip();
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ours), cmocka_unit_test(test_libraries)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
