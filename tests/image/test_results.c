/* Result documents, overlays and mask images. */
#include "fixture.h"

#include <dirent.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "image/rle.h"

static char directory[] = "/tmp/sam3-image-XXXXXX";

static int make_directory(void **state) {
  (void)state;
  return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state) {
  (void)state;
  return rmdir(directory); /* fails when a test left a file behind */
}

static const char *in_directory(const char *name) {
  static char path[200];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

#define RING "032NO012;NF" /* by pycocotools */
#define RESULTS_BEGIN                                                                                                  \
  "{\"model\": \"tiny\", \"image\": {\"path\": \"a/b.jpg\", \"width\": 6, \"height\": 5}, \"results\": [{\"prompt\": " \
  "{\"text\": \"a \\\"cat\\\"\", \"boxes\": []}, \"presence\": 0.75, \"detections\": [{\"id\": 0, \"label\": "         \
  "\"a \\\"cat\\\"\", \"score\": 0.100000001, \"box\": [-0.5, 0.0, 6.0, 3.25], \"area\": 9, "
#define RESULTS_MIDDLE                                                                                                 \
  "}]}, {\"prompt\": {\"text\": null, \"boxes\": [{\"box\": [1.0, 2.0, 3.0, 4.5], \"label\": 1}, {\"box\": [0.0, "     \
  "0.0, 1.0, 1.0], \"label\": 0}]}, \"presence\": 1.0, \"detections\": [{\"id\": 0, \"label\": \"visual\", "           \
  "\"score\": 0.5, \"box\": [1.0, 1.0, 2.0, 2.0], \"area\": 0, "
#define LABELME_SHAPE(points)                                                                                          \
  "{\"label\": \"a \\\"cat\\\"\", \"points\": " points ", \"group_id\": 0, \"description\": \"\", \"shape_type\": "    \
  "\"polygon\", \"flags\": {}, \"mask\": null}"

static const char *const expected[] = {
    [SAM3_FORMAT_JSON] = RESULTS_BEGIN "\"mask\": {\"size\": [5, 6], \"counts\": \"" RING "\"}" RESULTS_MIDDLE
                                       "\"mask\": {\"size\": [5, 6], \"counts\": \"n0\"}}]}]}\n",
    [SAM3_FORMAT_COCO] =
        "{\"info\": {\"description\": \"sam3\", \"model\": \"tiny\"}, \"images\": [{\"id\": 1, \"file_name\": "
        "\"a/b.jpg\", \"width\": 6, \"height\": 5}], \"categories\": [{\"id\": 1, \"name\": \"a \\\"cat\\\"\", "
        "\"supercategory\": \"\"}, {\"id\": 2, \"name\": \"visual\", \"supercategory\": \"\"}], \"annotations\": "
        "[{\"id\": 1, \"image_id\": 1, \"category_id\": 1, \"segmentation\": {\"size\": [5, 6], \"counts\": \"" RING
        "\"}, \"bbox\": [0, 0, 6, 3], \"area\": 9, \"iscrowd\": 0, \"score\": 0.100000001}, {\"id\": 2, \"image_id\": "
        "1, \"category_id\": 2, \"segmentation\": {\"size\": [5, 6], \"counts\": \"n0\"}, \"bbox\": [0, 0, 0, 0], "
        "\"area\": 0, \"iscrowd\": 0, \"score\": 0.5}]}\n",
    [SAM3_FORMAT_YOLO] = "0 0.000000 0.000000 0.500000 0.000000 0.500000 0.600000 0.000000 0.600000\n"
                         "0 0.833333 0.200000 1.000000 0.200000 1.000000 0.400000 0.833333 0.400000\n",
    [SAM3_FORMAT_LABELME] = "{\"version\": \"5.5.0\", \"flags\": {}, \"shapes\": [" LABELME_SHAPE(
        "[[0, 0], [3, 0], [3, 3], [0, 3]]") ", " LABELME_SHAPE("[[5, 1], [6, 1], [6, 2], [5, 2]]") "], \"imagePath\": "
                                                                                                   "\"a/b.jpg\", "
                                                                                                   "\"imageData\": "
                                                                                                   "null, "
                                                                                                   "\"imageHeight\": "
                                                                                                   "5, \"imageWidth\": "
                                                                                                   "6}\n",
    [SAM3_FORMAT_POLYGONS] = RESULTS_BEGIN
    "\"polygons\": [{\"outer\": [[0, 0], [3, 0], [3, 3], [0, 3]], \"holes\": [[[1, 2], [2, 2], [2, 1], [1, 1]]]}, "
    "{\"outer\": [[5, 1], [6, 1], [6, 2], [5, 2]], \"holes\": []}]" RESULTS_MIDDLE "\"polygons\": []}]}]}\n",
};

static void test_formats(void **state) {
  (void)state;
  struct sam3_results *results = small_results();
  for (int format = 0; format < (int)(sizeof expected / sizeof *expected); format++) {
    struct sam3_error err;
    char *text;
    assert_ok(sam3_results_format(results, (sam3_format)format, "tiny", "a/b.jpg", &text, &err));
    assert_string_equal(text, expected[format]);
    free(text);
  }
  sam3_results_free(results);
}

static void test_strange_text(void **state) {
  (void)state;
  struct sam3_results *results = small_results();
  free(results->items[0].text);
  results->items[0].text = strdup("\xc3\xa4 \xff \xe2\x82 \x01\n");
  for (int format = 0; format < (int)(sizeof expected / sizeof *expected); format++) {
    struct sam3_error err;
    char *text;
    assert_ok(sam3_results_format(results, (sam3_format)format, NULL, "\xf0\x28", &text, &err));
    json_t *json = json_loads(text, 0, NULL); /* refuses what is no UTF-8 */
    assert_true(format == SAM3_FORMAT_YOLO || json);
    if (format == SAM3_FORMAT_JSON) {
      json_t *first = json_array_get(json_object_get(json, "results"), 0);
      const char *prompt = json_string_value(json_object_get(json_object_get(first, "prompt"), "text"));
      assert_string_equal(prompt, "\xc3\xa4 \xef\xbf\xbd \xef\xbf\xbd \x01\n");
      assert_true(json_is_null(json_object_get(json, "model")));
    }
    json_decref(json);
    free(text);
  }
  sam3_results_free(results);
}

/* Numbers have points, whatever the locale of the process. */
static void test_locale(void **state) {
  (void)state;
  const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8"};
  bool set = false;
  for (size_t i = 0; i < 3 && !set; i++)
    set = setlocale(LC_ALL, names[i]);
  test_formats(NULL);
  setlocale(LC_ALL, "C");
  if (!set)
    skip();
}

static void test_unsound(void **state) {
  (void)state;
  struct sam3_error err;
  char *text;
  struct sam3_results *results = small_results();
  struct sam3_detection *detection = results->items[0].detections;
  detection->score = NAN;
  assert_int_equal(sam3_results_format(results, SAM3_FORMAT_JSON, "m", "p", &text, &err), SAM3_ERR_ARGUMENT);
  assert_null(text);
  assert_non_null(strstr(err.message, "prompt 0, detection 0"));
  detection->score = 1;
  detection->box[2] = INFINITY;
  assert_int_equal(sam3_results_format(results, SAM3_FORMAT_JSON, "m", "p", &text, &err), SAM3_ERR_ARGUMENT);
  detection->box[2] = 1;
  detection->mask.counts[0]++;
  assert_int_equal(sam3_results_format(results, SAM3_FORMAT_YOLO, "m", "p", &text, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(sam3_results_write_masks(results, directory, "m", &err), SAM3_ERR_ARGUMENT);
  detection->mask.counts[0]--;
  assert_int_equal(sam3_results_format(results, (sam3_format)99, "m", "p", &text, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(sam3_results_write_masks(results, directory, "../m", &err), SAM3_ERR_ARGUMENT);
  sam3_results_free(results);
  sam3_results_free(NULL);
}

static void test_masks(void **state) {
  (void)state;
  static const char *const rows[] = {"###...", "#.#..#", "###...", "......", "......"};
  struct sam3_error err;
  struct sam3_results *results = small_results();
  assert_ok(sam3_results_write_masks(results, directory, "photo", &err));
  for (int i = 0; i < 2; i++) {
    sam3_image *image;
    const char *path = in_directory(i ? "photo-1-0.png" : "photo-0-0.png");
    assert_ok(sam3_image_read(path, 0, &image, &err));
    assert_true(sam3_image_width(image) == 6 && sam3_image_height(image) == 5);
    for (int p = 0; p < 30; p++)
      assert_int_equal(sam3_image_pixels(image)[3 * p], !i && rows[p / 6][p % 6] == '#' ? 255 : 0);
    sam3_image_free(image);
    assert_int_equal(unlink(path), 0);
  }
  assert_int_equal(sam3_results_write_masks(results, in_directory("missing"), "photo", &err), SAM3_ERR_IO);
  assert_non_null(strstr(err.message, "missing/photo-0-0.png"));
  sam3_results_free(results);
}

/* A mask higher than the tiles in which its rows are made: 3 columns, each with the runs 1, 2, 3, ... */
static void test_tall_mask(void **state) {
  (void)state;
  enum { WIDTH = 3, HEIGHT = 400000 };
  struct sam3_error err;
  struct rle_builder builder;
  struct sam3_detection detection = {.score = 1};
  struct sam3_result item = {.detections = &detection, .n_detections = 1};
  struct sam3_results results = {.width = WIDTH, .height = HEIGHT, .items = &item, .n_items = 1};
  assert_ok(rle_begin(&builder, &detection.mask, WIDTH, HEIGHT, &err));
  for (int x = 0; x < WIDTH; x++)
    for (int y = 0; y < HEIGHT; y++)
      assert_ok(rle_append(&builder, 1, (y >> x) % 3 == 1, &err));
  assert_ok(rle_end(&builder, &err));
  assert_ok(sam3_results_write_masks(&results, directory, "tall", &err));
  sam3_image *image;
  assert_ok(sam3_image_read(in_directory("tall-0-0.png"), 0, &image, &err));
  unlink(in_directory("tall-0-0.png"));
  for (int y = 0; y < HEIGHT; y++)
    for (int x = 0; x < WIDTH; x++)
      if (sam3_image_pixels(image)[3 * (y * WIDTH + x)] != ((y >> x) % 3 == 1 ? 255 : 0))
        fail_msg("pixel %d, %d", x, y);
  sam3_image_free(image);
  rle_free(&detection.mask);
}

/* A grey image of 300 x 200 with a disc, and the label above it. */
static void disc_results(struct sam3_results *results, struct sam3_result *item, struct sam3_detection *detection,
                         char *label) {
  struct rle_builder builder;
  struct sam3_error err;
  *detection = (struct sam3_detection){.score = 0.934f, .box = {100, 60, 200, 160}};
  *item = (struct sam3_result){.text = label, .detections = detection, .n_detections = 1};
  *results = (struct sam3_results){.width = 300, .height = 200, .items = item, .n_items = 1};
  assert_ok(rle_begin(&builder, &detection->mask, 300, 200, &err));
  for (int x = 0; x < 300; x++)
    for (int y = 0; y < 200; y++)
      assert_ok(rle_append(&builder, 1, (x - 150) * (x - 150) + (y - 110) * (y - 110) < 2500, &err));
  assert_ok(rle_end(&builder, &err));
}

static int differing(const sam3_image *image, int x0, int y0, int x1, int y1, int grey) {
  int n = 0;
  for (int y = y0; y < y1; y++)
    for (int x = x0; x < x1; x++) {
      const uint8_t *p = sam3_image_pixels(image) + 3 * (y * sam3_image_width(image) + x);
      n += abs(p[0] - grey) > 6 || abs(p[1] - grey) > 6 || abs(p[2] - grey) > 6;
    }
  return n;
}

static void test_overlay(void **state) {
  (void)state;
  static uint8_t grey[300 * 200 * 3];
  memset(grey, 128, sizeof grey);
  struct sam3_results results;
  struct sam3_result item;
  struct sam3_detection detection;
  struct sam3_error err;
  sam3_image *image, *drawn;
  char label[] = "h\xc3\xbchn\xff \xe9\xbe\x8d with a very long name that does not fit into the image by far";
  assert_ok(sam3_image_from_rgb(grey, 300, 200, &image, &err));
  disc_results(&results, &item, &detection, label);
  static const char *const names[] = {"a.png", "a.JPG", "a.jpeg"};
  for (int i = 0; i < 3; i++) {
    assert_ok(sam3_results_overlay(&results, image, in_directory(names[i]), &err));
    assert_ok(sam3_image_read(in_directory(names[i]), 0, &drawn, &err));
    unlink(in_directory(names[i]));
    assert_true(sam3_image_width(drawn) == 300 && sam3_image_height(drawn) == 200);
    assert_int_equal(differing(drawn, 130, 90, 170, 130, 128), 40 * 40); /* inside the disc */
    assert_int_equal(differing(drawn, 0, 170, 300, 200, 128), 0);        /* below it */
    assert_true(differing(drawn, 100, 44, 200, 60, 128) > 100 * 16 / 2); /* the tag above it */
    sam3_image_free(drawn);
  }
  assert_memory_equal(sam3_image_pixels(image), grey, sizeof grey); /* the image itself stays as it was */
  assert_int_equal(sam3_results_overlay(&results, image, in_directory("a.gif"), &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(sam3_results_overlay(&results, image, in_directory("none/a.png"), &err), SAM3_ERR_IO);
  mkdir(in_directory("directory.png"), 0777); /* cannot be replaced: nothing is left beside it */
  assert_int_equal(sam3_results_overlay(&results, image, in_directory("directory.png"), &err), SAM3_ERR_IO);
  rmdir(in_directory("directory.png"));
  results.width = 299;
  assert_int_equal(sam3_results_overlay(&results, image, in_directory("a.png"), &err), SAM3_ERR_ARGUMENT);
  sam3_image_free(image);
  rle_free(&detection.mask);
}

/* No image and no label is too small: nothing is drawn outside (sanitizers tell). */
static void test_tiny_overlays(void **state) {
  (void)state;
  for (int side = 1; side < 40; side += 3) {
    struct sam3_error err;
    struct rle_builder builder;
    struct sam3_detection detection = {.score = 0.5f, .box = {-1e30f, -5, 1e30f, 3}};
    struct sam3_result item = {.text = side % 2 ? NULL : "", .detections = &detection, .n_detections = 1};
    struct sam3_results results = {.width = side, .height = 2, .items = &item, .n_items = 1};
    assert_ok(rle_begin(&builder, &detection.mask, side, 2, &err));
    assert_ok(rle_append(&builder, 2 * (uint32_t)side, side % 3 == 1, &err));
    assert_ok(rle_end(&builder, &err));
    uint8_t *pixels = calloc(6 * (size_t)side, 1);
    sam3_image *image;
    assert_ok(sam3_image_from_rgb(pixels, side, 2, &image, &err));
    assert_ok(sam3_results_overlay(&results, image, in_directory("tiny.png"), &err));
    unlink(in_directory("tiny.png"));
    sam3_image_free(image);
    free(pixels);
    rle_free(&detection.mask);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_formats), cmocka_unit_test(test_strange_text),  cmocka_unit_test(test_locale),
      cmocka_unit_test(test_unsound), cmocka_unit_test(test_masks),         cmocka_unit_test(test_tall_mask),
      cmocka_unit_test(test_overlay), cmocka_unit_test(test_tiny_overlays),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
