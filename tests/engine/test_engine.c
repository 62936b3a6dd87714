/* Sessions, prompts and results through the public API, on random models of the fixtures' configurations.
 *
 *   test_engine FIXTURES      the directory tests/model/fixtures */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/session.h"

static const char *fixtures;

/* An image of 96 x 64 with some structure. */
static sam3_image *test_image(void) {
  static uint8_t pixels[64 * 96 * 3];
  struct sam3_error err;
  sam3_image *image;
  for (int i = 0; i < 64 * 96 * 3; i++)
    pixels[i] = (uint8_t)(128 + 90 * sin(i % 288 / 17.0) * cos(i / 288 / 5.0) + i % 3 * 12);
  assert_int_equal(sam3_image_from_rgb(pixels, 96, 64, &image, &err), SAM3_OK);
  return image;
}

/* A model, a session on it and an encoded image. */
struct setup {
  sam3_model *model;
  sam3_session *session;
  sam3_features *features;
  sam3_image *image;
};

static void must(sam3_status status, const struct sam3_error *err) {
  if (status != SAM3_OK)
    fail_msg("%s: %s", sam3_status_name(status), err->message);
}

static const char *config_path(const char *preset) {
  static char path[600];
  snprintf(path, sizeof path, "%s/%s/config.json", fixtures, preset);
  return path;
}

static struct setup set_up(const char *preset, const char *device, sam3_dtype dtype) {
  struct setup s = {.image = test_image()};
  struct sam3_error err;
  const struct sam3_session_options options = {device, dtype};
  must(sam3_model_random(config_path(preset), 7, &s.model, &err), &err);
  must(sam3_session_open(s.model, &options, &s.session, &err), &err);
  must(sam3_features_create(s.session, &s.features, &err), &err);
  must(sam3_encode(s.session, s.image, s.features, &err), &err);
  return s;
}

static void tear_down(struct setup *s) {
  sam3_features_free(s->features);
  sam3_session_close(s->session);
  sam3_model_close(s->model);
  sam3_image_free(s->image);
}

static struct sam3_results *segment(struct setup *s, const struct sam3_prompt *prompts, size_t n, float threshold) {
  const struct sam3_segment_options options = {threshold};
  struct sam3_error err;
  struct sam3_results *results;
  must(sam3_segment(s->session, s->features, prompts, n, &options, &results, &err), &err);
  assert_int_equal(results->n_items, n);
  return results;
}

/* The largest difference of scores of the same queries; fails unless both have the same queries. */
static double score_difference(const struct sam3_result *a, const struct sam3_result *b) {
  double worst = 0;
  assert_int_equal(a->n_detections, b->n_detections);
  for (size_t i = 0; i < a->n_detections; i++) {
    bool found = false;
    for (size_t j = 0; j < b->n_detections; j++) {
      if (a->detections[i].query != b->detections[j].query)
        continue;
      double d = fabs((double)a->detections[i].score - b->detections[j].score);
      assert_true(isfinite(d));
      worst = fmax(worst, d);
      found = true;
    }
    assert_true(found);
  }
  return worst;
}

static const struct sam3_box two_boxes[] = {{10, 8, 60, 40, true}, {50, 20, 90, 60, false}};

/* ------------------------------------------------------------------------------------------ tests */

static void prompts_do_not_move_each_other(void **state) {
  (void)state;
  struct setup s = set_up("ash", "cpu", SAM3_F32);
  const struct sam3_prompt prompts[] = {
      {.text = "dog"}, {.text = "red car"}, {.boxes = two_boxes, .n_boxes = 2}, {.text = "dog"}, {.text = ""}};
  struct sam3_results *all = segment(&s, prompts, 5, 0);
  for (size_t i = 5; i-- > 0;) {
    struct sam3_results *one = segment(&s, &prompts[i], 1, 0);
    assert_true(score_difference(&all->items[i], &one->items[0]) < 1e-6);
    assert_memory_equal(&all->items[i].presence, &one->items[0].presence, sizeof(float));
    sam3_results_free(one);
  }
  assert_true(score_difference(&all->items[0], &all->items[3]) == 0);
  sam3_results_free(all);
  tear_down(&s);
}

static void more_texts_than_slots(void **state) {
  (void)state;
  struct setup s = set_up("cedar", "cpu", SAM3_F32);
  char texts[2 * TEXT_SLOTS][24];
  struct sam3_prompt prompts[2 * TEXT_SLOTS];
  for (int i = 0; i < 2 * TEXT_SLOTS; i++) {
    snprintf(texts[i], sizeof texts[i], "thing number %d", i);
    prompts[i] = (struct sam3_prompt){.text = texts[i]};
  }
  struct sam3_results *all = segment(&s, prompts, 2 * TEXT_SLOTS, 0);
  const int checked[] = {0, 7, 8, TEXT_SLOTS, 2 * TEXT_SLOTS - 1};
  for (size_t i = 0; i < sizeof checked / sizeof *checked; i++) {
    struct sam3_results *one = segment(&s, &prompts[checked[i]], 1, 0);
    assert_true(score_difference(&all->items[checked[i]], &one->items[0]) < 1e-6);
    sam3_results_free(one);
  }
  sam3_results_free(all);
  tear_down(&s);
}

static void thresholds(void **state) {
  (void)state;
  struct setup s = set_up("ash", "cpu", SAM3_F32);
  const struct sam3_prompt prompt = {.text = "dog"};
  struct sam3_results *all = segment(&s, &prompt, 1, 0), *none = segment(&s, &prompt, 1, 1);
  const struct sam3_result *r = &all->items[0];
  assert_int_equal(r->n_detections, s.model->network.config.queries);
  assert_int_equal(none->items[0].n_detections, 0);
  for (size_t i = 1; i < r->n_detections; i++)
    assert_true(r->detections[i - 1].score >= r->detections[i].score);
  struct sam3_results *best = segment(&s, &prompt, 1, r->detections[1].score); /* strictly greater */
  assert_int_equal(best->items[0].n_detections, 1);
  sam3_results_free(all);
  sam3_results_free(none);
  sam3_results_free(best);
  tear_down(&s);
}

static void devices_and_dtypes_agree(void **state) {
  (void)state;
  const struct sam3_prompt prompts[] = {{.text = "dog"}, {.text = "cat", .boxes = two_boxes, .n_boxes = 2}};
  struct setup ref = set_up("cedar", "ref", SAM3_F32);
  struct sam3_results *expected = segment(&ref, prompts, 2, 0);
  const struct {
    const char *device;
    sam3_dtype dtype;
    double most;
  } others[] = {{"cpu", SAM3_F32, 1e-5}, {"cpu:0", SAM3_F32, 1e-5}, {"cpu", SAM3_BF16, 0.1}, {"cpu", SAM3_F16, 0.02}};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    struct setup s = set_up("cedar", others[i].device, others[i].dtype);
    struct sam3_results *results = segment(&s, prompts, 2, 0);
    for (int p = 0; p < 2; p++)
      assert_true(score_difference(&expected->items[p], &results->items[p]) < others[i].most);
    sam3_results_free(results);
    tear_down(&s);
  }
  sam3_results_free(expected);
  tear_down(&ref);
}

/* The arena was sized by a rehearsal; the largest request stays inside. */
static void largest_request_fits(void **state) {
  (void)state;
  struct setup s = set_up("birch", "cpu", SAM3_F32);
  struct sam3_box boxes[MAX_BOXES];
  struct sam3_prompt prompts[TEXT_BATCH];
  char texts[TEXT_BATCH][300] = {0};
  for (int i = 0; i < MAX_BOXES; i++)
    boxes[i] = (struct sam3_box){(float)(i % 50), (float)(i % 30), (float)(i % 50 + 40), (float)(i % 30 + 30), i % 2};
  for (int i = 0; i < TEXT_BATCH; i++) {
    for (int w = 0; w < 60; w++)
      snprintf(texts[i] + 4 * w, 8, "%c%c%c ", 'a' + i, 'a' + w % 26, 'a' + w / 3);
    prompts[i] = (struct sam3_prompt){texts[i], boxes, MAX_BOXES};
  }
  struct sam3_results *results = segment(&s, prompts, TEXT_BATCH, 0);
  assert_true(s.session->arena.peak <= s.session->arena.size);
  assert_int_equal(s.session->arena.used, 0);
  sam3_results_free(results);
  tear_down(&s);
}

struct stopper {
  int calls, stop_at;
  double last;
};

static bool stop(void *user, const char *stage, double fraction) {
  struct stopper *s = user;
  assert_non_null(stage);
  assert_true(fraction >= s->last && fraction <= 1);
  s->last = fraction;
  return ++s->calls != s->stop_at;
}

static void cancelled_anywhere(void **state) {
  (void)state;
  struct setup s = set_up("cedar", "cpu", SAM3_F32);
  const struct sam3_prompt prompts[] = {{.text = "dog"}, {.text = "cat"}};
  struct stopper stopper = {0};
  struct sam3_error err;
  struct sam3_results *expected = segment(&s, prompts, 2, 0), *results;
  memset(s.session->texts, 0, sizeof s.session->texts);
  sam3_session_on_progress(s.session, stop, &stopper);
  sam3_results_free(segment(&s, prompts, 2, 0));
  int calls = stopper.calls;
  assert_true(calls > 6);
  const struct sam3_segment_options options = {0};
  for (int at = 1; at <= calls; at++) {
    memset(s.session->texts, 0, sizeof s.session->texts);
    stopper = (struct stopper){.stop_at = at};
    assert_int_equal(sam3_segment(s.session, s.features, prompts, 2, &options, &results, &err), SAM3_ERR_CANCELLED);
    assert_null(results);
    sam3_session_on_progress(s.session, NULL, NULL);
    results = segment(&s, prompts, 2, 0);
    assert_true(score_difference(&expected->items[0], &results->items[0]) == 0);
    assert_true(score_difference(&expected->items[1], &results->items[1]) == 0);
    sam3_results_free(results);
    sam3_session_on_progress(s.session, stop, &stopper);
  }
  stopper = (struct stopper){.stop_at = 2};
  assert_int_equal(sam3_encode(s.session, s.image, s.features, &err), SAM3_ERR_CANCELLED);
  assert_int_equal(sam3_segment(s.session, s.features, prompts, 2, &options, &results, &err), SAM3_ERR_ARGUMENT);
  sam3_results_free(expected);
  tear_down(&s);
}

static void refuse(struct setup *s, const struct sam3_prompt *prompt, float threshold, sam3_status status,
                   const char *word) {
  const struct sam3_segment_options options = {threshold};
  struct sam3_error err = {0};
  struct sam3_results *results;
  assert_int_equal(sam3_segment(s->session, s->features, prompt, 1, &options, &results, &err), status);
  assert_null(results);
  if (!strstr(err.message, word))
    fail_msg("\"%s\" does not say \"%s\"", err.message, word);
}

static void bad_arguments(void **state) {
  (void)state;
  struct setup s = set_up("cedar", "cpu", SAM3_F32);
  struct sam3_box many[MAX_BOXES + 1] = {{0}}, one = {1, 2, 30, 40, true};
  const struct sam3_prompt text = {.text = "dog"}, box = {.boxes = &one, .n_boxes = 1};
  refuse(&s, &(struct sam3_prompt){0}, 0.5f, SAM3_ERR_ARGUMENT, "neither");
  refuse(&s, &text, NAN, SAM3_ERR_ARGUMENT, "threshold");
  refuse(&s, &text, 1.5f, SAM3_ERR_ARGUMENT, "threshold");
  refuse(&s, &text, -0.1f, SAM3_ERR_ARGUMENT, "threshold");
  refuse(&s, &(struct sam3_prompt){"x", many, MAX_BOXES + 1}, 0.5f, SAM3_ERR_LIMIT, "boxes");
  refuse(&s, &(struct sam3_prompt){.text = "\xff\xfe"}, 0.5f, SAM3_ERR_FORMAT, "UTF-8");
  one.x1 = 1;
  refuse(&s, &box, 0.5f, SAM3_ERR_ARGUMENT, "box 0");
  one.x1 = INFINITY;
  refuse(&s, &box, 0.5f, SAM3_ERR_ARGUMENT, "finite");
  one.x1 = 1e9f;
  refuse(&s, &box, 0.5f, SAM3_ERR_LIMIT, "leaves the image");
  struct sam3_error err;
  sam3_session *session;
  const char *const devices[] = {"gpu", "cpu:", "cpu:9999", "cpu:1-0", "cpu:x", "cpux", "", "cpu:0-", "cpu:-1"};
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
    const struct sam3_session_options options = {devices[i], SAM3_F32};
    assert_int_equal(sam3_session_open(s.model, &options, &session, &err), SAM3_ERR_DEVICE);
    assert_null(session);
    assert_non_null(strstr(err.message, devices[i]));
  }
  tear_down(&s);
}

/* The whole job; SAM3_OK or the first error. */
static sam3_status whole_job(const char *config, const sam3_image *image) {
  const struct sam3_prompt prompts[] = {{.text = "dog"}, {.boxes = two_boxes, .n_boxes = 2}};
  const struct sam3_segment_options options = {0};
  struct sam3_error err;
  sam3_model *model = NULL;
  sam3_session *session = NULL;
  sam3_features *features = NULL;
  struct sam3_results *results = NULL;
  char *text = NULL;
  sam3_status status = sam3_model_random(config, 1, &model, &err);
  if (status == SAM3_OK)
    status = sam3_session_open(model, NULL, &session, &err);
  if (status == SAM3_OK)
    status = sam3_features_create(session, &features, &err);
  if (status == SAM3_OK)
    status = sam3_encode(session, image, features, &err);
  if (status == SAM3_OK)
    status = sam3_segment(session, features, prompts, 2, &options, &results, &err);
  if (status == SAM3_OK)
    status = sam3_results_format(results, SAM3_FORMAT_JSON, "model", "image", &text, &err);
  free(text);
  sam3_results_free(results);
  sam3_features_free(features);
  sam3_session_close(session);
  sam3_model_close(model);
  return status;
}

/* Every allocation of the job fails once; leaks are the sanitizer's to find. */
static void memory_runs_out_anywhere(void **state) {
  (void)state;
  sam3_image *image = test_image();
  char config[600];
  snprintf(config, sizeof config, "%s", config_path("cedar"));
  mem_fail_at(0, false);
  assert_int_equal(whole_job(config, image), SAM3_OK);
  size_t asked = mem_fail_at(0, false);
  assert_true(asked > 50);
  size_t step = asked / 150 + 1; /* enough to touch every kind of allocation */
  for (size_t n = 1; n <= asked; n += n < 40 ? 1 : step) {
    mem_fail_at(n, n % 2);
    sam3_status status = whole_job(config, image);
    mem_fail_at(0, false);
    if (status != SAM3_ERR_MEMORY)
      fail_msg("allocation %zu of %zu failed and the job ended with \"%s\"", n, asked, sam3_status_name(status));
  }
  sam3_image_free(image);
}

static void bench_reports(void **state) {
  (void)state;
  struct setup s = set_up("cedar", "cpu", SAM3_F32);
  struct sam3_error err;
  char *json;
  const struct sam3_bench_options options = {.runs = 2};
  must(sam3_bench(s.session, &options, &json, &err), &err);
  const char *const keys[] = {"\"vision\"", "\"fusion\"", "\"masks\"", "\"encode_ms\"", "\"further_prompt_ms\""};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    assert_non_null(strstr(json, keys[i]));
  free(json);
  tear_down(&s);
}

int main(int argc, char **argv) {
  if (argc != 2)
    return fprintf(stderr, "usage: %s FIXTURES\n", argv[0]), 2;
  fixtures = argv[1];
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(prompts_do_not_move_each_other),
      cmocka_unit_test(more_texts_than_slots),
      cmocka_unit_test(thresholds),
      cmocka_unit_test(devices_and_dtypes_agree),
      cmocka_unit_test(largest_request_fits),
      cmocka_unit_test(cancelled_anywhere),
      cmocka_unit_test(bad_arguments),
      cmocka_unit_test(memory_runs_out_anywhere),
      cmocka_unit_test(bench_reports),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
