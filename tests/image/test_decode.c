/* Decoding against Pillow's pixels; refusals; files, pipes and limits. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/codec.h"
#include "image/file.h"

static void same_pixels(const char *name, const sam3_image *image) {
  char reference[200];
  snprintf(reference, sizeof reference, "%s.rgb", name);
  size_t size;
  uint8_t *expected = fixture_read(reference, &size);
  int32_t width, height;
  memcpy(&width, expected, 4);
  memcpy(&height, expected + 4, 4);
  if (width != sam3_image_width(image) || height != sam3_image_height(image))
    fail_msg("%s: %d x %d pixels, expected %d x %d", name, sam3_image_width(image), sam3_image_height(image), width,
             height);
  assert_int_equal(size, 8 + 3 * width * height);
  const uint8_t *pixels = sam3_image_pixels(image);
  for (int i = 0; i < 3 * width * height; i++)
    if (pixels[i] != expected[8 + i])
      fail_msg("%s: pixel %d, %d, channel %d is %d, expected %d", name, i / 3 % width, i / 3 / width, i % 3, pixels[i],
               expected[8 + i]);
  free(expected);
}

static void test_pixels(void **state) {
  (void)state;
  FILE *list = fixture_open("images.txt");
  char name[100];
  int n = 0;
  for (; fscanf(list, "%99s", name) == 1; n++) {
    size_t size;
    struct sam3_error err;
    sam3_image *image;
    uint8_t *bytes = fixture_read(name, &size);
    assert_ok(sam3_image_decode(bytes, size, name, 0, &image, &err));
    same_pixels(name, image);
    sam3_image_free(image);
    free(bytes);
  }
  assert_true(n > 40);
  fclose(list);
}

static void refused(const void *bytes, size_t size, uint64_t max_pixels, sam3_status status, const char *words) {
  struct sam3_error err;
  sam3_image *image = (sam3_image *)&err;
  assert_int_equal(sam3_image_decode(bytes, size, "file", max_pixels, &image, &err), status);
  assert_null(image);
  assert_int_equal(err.status, status);
  if (strncmp(err.message, "file: ", 6) || !strstr(err.message, words))
    fail_msg("\"%s\" does not tell \"%s\"", err.message, words);
}

static void test_other_formats(void **state) {
  (void)state;
  static const struct {
    const char *file, *words;
  } cases[] = {{"refused.gif", "a GIF image"},
               {"refused.bmp", "a BMP image"},
               {"refused.tiff", "a TIFF image"},
               {"refused.jpeg2000", "a JPEG 2000 image"},
               {"images.txt", "is text"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t size;
    uint8_t *bytes = fixture_read(cases[i].file, &size);
    refused(bytes, size, 0, SAM3_ERR_FORMAT, cases[i].words);
    free(bytes);
  }
  refused("", 0, 0, SAM3_ERR_FORMAT, "is empty");
  refused(NULL, 0, 0, SAM3_ERR_FORMAT, "is empty");
  refused("\0\0\0\x18"
          "ftypheic",
          12, 0, SAM3_ERR_FORMAT, "a HEIC image");
  refused("\1\2\3\4", 4, 0, SAM3_ERR_FORMAT, "unknown format");
}

/* Every beginning of a file but the whole is refused (a PNG may lack its last checksum). */
static void test_truncated(void **state) {
  (void)state;
  static const char *const names[] = {"base.jpg",   "progressive.jpg", "cmyk.jpg",      "palette_alpha.png",
                                      "rgba16.png", "lossy.webp",      "lossless.webp", "rgb_interlaced.png"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    size_t size;
    uint8_t *bytes = fixture_read(names[i], &size);
    for (size_t cut = strstr(names[i], ".png") ? 5 : 1; cut <= size; cut++) {
      uint8_t *part = malloc(size - cut + 1); /* of its own, so that sanitizers see reads beyond */
      memcpy(part, bytes, size - cut);
      refused(part, size - cut, 0, SAM3_ERR_FORMAT, "");
      free(part);
    }
    free(bytes);
  }
}

static void test_damaged(void **state) {
  (void)state;
  size_t size;
  uint8_t *jpeg = fixture_read("444.jpg", &size);
  memset(jpeg + size - 60, 0xff, 40); /* in the scan: no such codes */
  refused(jpeg, size, 0, SAM3_ERR_FORMAT, "JPEG");
  free(jpeg);
  uint8_t *png = fixture_read("rgb.png", &size);
  png[size - 30] ^= 1;
  refused(png, size, 0, SAM3_ERR_FORMAT, "PNG");
  free(png);
}

static void test_limits(void **state) {
  (void)state;
  static const char *const names[] = {"base.jpg", "rgb.png", "lossy.webp", "exif6.jpg"}; /* 29 x 21 = 609 pixels */
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    size_t size;
    struct sam3_error err;
    sam3_image *image;
    uint8_t *bytes = fixture_read(names[i], &size);
    refused(bytes, size, 608, SAM3_ERR_LIMIT, "limit of 608");
    assert_ok(sam3_image_decode(bytes, size, "file", 609, &image, &err));
    sam3_image_free(image);
    free(bytes);
  }
  /* A header that promises 65,500 x 65,500 pixels is believed, and refused, before any memory is taken. */
  size_t size;
  uint8_t *bytes = fixture_read("base.jpg", &size);
  uint8_t *frame = memmem(bytes, size, "\xff\xc0", 2);
  memcpy(frame + 5, "\xff\xdc\xff\xdc", 4);
  refused(bytes, size, 0, SAM3_ERR_LIMIT, "65500 x 65500");
  free(bytes);
}

static void test_files(void **state) {
  (void)state;
  struct sam3_error err;
  sam3_image *image;
  assert_ok(sam3_image_read(FIXTURES "/base.jpg", 0, &image, &err));
  same_pixels("base.jpg", image);
  sam3_image_free(image);
  assert_int_equal(sam3_image_read(FIXTURES, 0, &image, &err), SAM3_ERR_IO);
  assert_non_null(strstr(err.message, "is a directory"));
  assert_int_equal(sam3_image_read(FIXTURES "/missing.jpg", 0, &image, &err), SAM3_ERR_IO);
  assert_non_null(strstr(err.message, "missing.jpg"));
  assert_null(image);
}

static void test_pipe(void **state) {
  (void)state;
  size_t size;
  uint8_t *bytes = fixture_read("rgb.png", &size);
  int ends[2], old = dup(0);
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], bytes, size), size);
  close(ends[1]);
  dup2(ends[0], 0);
  close(ends[0]);
  struct sam3_error err;
  sam3_image *image;
  assert_ok(sam3_image_read("-", 0, &image, &err));
  same_pixels("rgb.png", image);
  sam3_image_free(image);
  dup2(old, 0);
  close(old);
  free(bytes);
}

static void test_byte_limit(void **state) {
  (void)state;
  struct sam3_error err;
  uint8_t *bytes;
  size_t size, whole;
  free(fixture_read("rgb.png", &whole));
  assert_ok(file_read(FIXTURES "/rgb.png", whole, &bytes, &size, &err));
  assert_int_equal(size, whole);
  free(bytes);
  assert_int_equal(file_read(FIXTURES "/rgb.png", whole - 1, &bytes, &size, &err), SAM3_ERR_LIMIT);
  assert_null(bytes);
  assert_int_equal(file_read("/dev/zero", 1 << 20, &bytes, &size, &err), SAM3_ERR_LIMIT);
}

static void test_from_rgb(void **state) {
  (void)state;
  static const uint8_t pixels[] = {1, 2, 3, 4, 5, 6};
  struct sam3_error err;
  sam3_image *image;
  assert_ok(sam3_image_from_rgb(pixels, 2, 1, &image, &err));
  assert_int_equal(sam3_image_width(image), 2);
  assert_memory_equal(sam3_image_pixels(image), pixels, 6);
  sam3_image_free(image);
  assert_int_equal(sam3_image_from_rgb(pixels, 0, 1, &image, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(sam3_image_from_rgb(NULL, 1, 1, &image, &err), SAM3_ERR_ARGUMENT);
  assert_null(image);
}

static void test_exif(void **state) {
  (void)state;
  uint8_t exif[] = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
  assert_int_equal(exif_orientation(exif, 22), 6);
  for (size_t size = 0; size < 22; size++)
    assert_int_equal(exif_orientation(exif, size), 1);
  exif[18] = 9;
  assert_int_equal(exif_orientation(exif, 22), 1);
  memset(exif + 4, 0xff, 4); /* a directory far outside */
  assert_int_equal(exif_orientation(exif, 22), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pixels),  cmocka_unit_test(test_other_formats), cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_damaged), cmocka_unit_test(test_limits),        cmocka_unit_test(test_files),
      cmocka_unit_test(test_pipe),    cmocka_unit_test(test_byte_limit),    cmocka_unit_test(test_from_rgb),
      cmocka_unit_test(test_exif),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
