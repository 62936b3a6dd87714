/* One request split over several devices, as threads and as processes: equal to one device, and never a hang.
 *
 *   test_split FIXTURES      the directory tests/model/fixtures */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/split.h"

/* Of the largest magnitude: only the order of sums differs. What that makes of features goes through the decoder's
 * layers, each of which moves the boxes that the next attends to: its logits differ more. */
#define TOLERANCE 1e-5
#define TOLERANCE_LOGITS 2e-5

/* Seconds that a rank waits for others where all of them come; and where one does not. */
#define LONG 120
#define SHORT 0.5

static const char *fixtures;
static const char *const presets[] = {"ash", "birch", "cedar", "dogwood", "elm"};

static const struct sam3_box boxes[] = {{10, 8, 60, 40, true}, {50, 20, 90, 60, false}, {0, 0, 96, 64, true}};
static const struct sam3_prompt prompts[] = {
    {.text = "dog"}, {.text = "a red car in the snow", .boxes = boxes, .n_boxes = 2}, {.boxes = boxes, .n_boxes = 3}};
enum { PROMPTS = sizeof prompts / sizeof *prompts };

static void must(sam3_status status, const struct sam3_error *err) {
  if (status != SAM3_OK)
    fail_msg("%s: %s", sam3_status_name(status), err->message);
}

static sam3_model *open_model(const char *preset) {
  char path[600];
  struct sam3_error err;
  sam3_model *model;
  snprintf(path, sizeof path, "%s/%s/config.json", fixtures, preset);
  must(sam3_model_random(path, 7, &model, &err), &err);
  return model;
}

/* An image of 96 x 64 with some structure. */
static sam3_image *test_image(void) {
  uint8_t pixels[64 * 96 * 3];
  struct sam3_error err;
  sam3_image *image;
  for (int i = 0; i < 64 * 96 * 3; i++)
    pixels[i] = (uint8_t)(128 + 90 * sin(i % 288 / 17.0) * cos(i / 288 / 5.0) + i % 3 * 12);
  must(sam3_image_from_rgb(pixels, 96, 64, &image, &err), &err);
  return image;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------ one rank */

/* What becomes of a rank when the progress function is told of `stage`. */
enum fate { LIVES, CANCELS, BREAKS, DIES, LACKS_MEMORY };

/* A session that answers a request, alone (split is NULL) or as a rank. */
struct rank {
  sam3_model *model;
  struct split *split;
  int rank, slot;
  size_t n_prompts;
  enum fate fate;
  const char *stage;

  sam3_session *session;
  sam3_features *features;
  sam3_status status;
  struct sam3_error err;
  struct sam3_results *results;
  float *masks; /* logits of the last batch, of rank 0 */
  double seconds;
};

static bool told(void *user, const char *stage, double fraction) {
  struct rank *r = user;
  (void)fraction;
  if (r->fate == LIVES || strcmp(stage, r->stage) != 0)
    return true;
  switch (r->fate) {
  case BREAKS:
    split_break(r->split, SAM3_ERR_DEVICE, "the test says so");
    return true;
  case DIES:
    raise(SIGKILL);
    return true;
  case LACKS_MEMORY:
    mem_fail_at(1, true);
    return true;
  default:
    return false;
  }
}

static sam3_status answer(struct rank *r) {
  const struct sam3_segment_options options = {0};
  sam3_image *image = test_image();
  sam3_status status = sam3_encode(r->session, image, r->features, &r->err);
  if (status == SAM3_OK)
    status = sam3_segment(r->session, r->features, prompts, r->n_prompts ? r->n_prompts : PROMPTS, &options,
                          &r->results, &r->err);
  sam3_image_free(image);
  return status;
}

static sam3_status open_rank(struct rank *r) {
  const struct sam3_session_options options = {"cpu:0", SAM3_F32};
  sam3_status status = sam3_session_open(r->model, &options, &r->session, &r->err);
  if (status != SAM3_OK)
    return status;
  sam3_session_on_progress(r->session, told, r);
  return r->split ? split_features(r->split, r->rank, r->slot, r->session, &r->features, &r->err)
                  : sam3_features_create(r->session, &r->features, &r->err);
}

static void *run_rank(void *arg) {
  struct rank *r = arg;
  r->status = open_rank(r);
  double begin = now();
  if (r->status == SAM3_OK)
    r->status = answer(r);
  r->seconds = now() - begin;
  return NULL;
}

static void close_rank(struct rank *r) {
  sam3_results_free(r->results);
  sam3_features_free(r->features);
  sam3_session_close(r->session);
  r->results = NULL;
  r->features = NULL;
  r->session = NULL;
}

/* The answer of one device. */
static struct rank alone(sam3_model *model) {
  struct rank r = {.model = model};
  run_rank(&r);
  must(r.status, &r.err);
  return r;
}

static struct split *new_split(sam3_model *model, enum split_among among, int ranks, double timeout) {
  const struct sam3_session_options options = {"cpu:0", SAM3_F32};
  struct sam3_error err;
  struct split_size size;
  struct split *split;
  sam3_session *session;
  must(sam3_session_open(model, &options, &session, &err), &err);
  must(split_measure(session, ranks, &size, &err), &err);
  must(split_create(&size, among, ranks, 2, timeout, &split, &err), &err);
  assert_true(split_bytes(split) >= size.activations + 2 * size.features);
  sam3_session_close(session);
  return split;
}

/* ------------------------------------------------------------------------------------ equality */

static void expect_close(const char *what, const float *got, const float *want, int64_t n, double tolerance) {
  double largest = 0, worst = 0;
  for (int64_t i = 0; i < n; i++)
    largest = fmax(largest, fabs((double)want[i]));
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)got[i] - (double)want[i]);
    if (!(d <= worst))
      worst = d;
  }
  if (!(worst <= tolerance * largest))
    fail_msg("%s differs by %.3g of the largest, %.3g", what, worst / largest, largest);
}

static void expect_tensor(const char *what, struct tensor got, struct tensor want) {
  assert_true(got.rows == want.rows && got.cols == want.cols && got.stride == got.cols && want.stride == want.cols);
  expect_close(what, got.data, want.data, got.rows * got.cols, TOLERANCE);
}

static const struct sam3_detection *of_query(const struct sam3_result *result, int query) {
  for (size_t i = 0; i < result->n_detections; i++)
    if (result->detections[i].query == query)
      return &result->detections[i];
  fail_msg("query %d is missing", query);
  return NULL;
}

/* Pixels in which two masks of one size differ. */
static uint64_t different_pixels(const struct sam3_rle *a, const struct sam3_rle *b) {
  uint64_t at = 0, end_a = 0, end_b = 0, total = (uint64_t)a->width * (uint64_t)a->height, different = 0;
  size_t i = 0, j = 0;
  assert_true(a->width == b->width && a->height == b->height);
  while (at < total) {
    while (end_a <= at)
      end_a += a->counts[i++];
    while (end_b <= at)
      end_b += b->counts[j++];
    uint64_t end = end_a < end_b ? end_a : end_b;
    if ((i ^ j) & 1)
      different += end - at;
    at = end;
  }
  return different;
}

/* Masks of random models are noise about zero: where a logit is within rounding of it, a pixel may turn. */
static void expect_result(const struct sam3_result *got, const struct sam3_result *want, bool masks) {
  uint64_t different = 0, all = 0;
  assert_int_equal(got->n_detections, want->n_detections);
  assert_true(want->n_detections > 0);
  assert_true(fabsf(got->presence - want->presence) <= TOLERANCE);
  for (size_t i = 0; i < want->n_detections; i++) {
    const struct sam3_detection *w = &want->detections[i], *g = of_query(got, w->query);
    assert_true(fabsf(g->score - w->score) <= TOLERANCE);
    for (int j = 0; j < 4; j++)
      assert_true(fabsf(g->box[j] - w->box[j]) <= TOLERANCE * 96);
    if (masks) {
      different += different_pixels(&g->mask, &w->mask);
      all += (uint64_t)w->mask.width * (uint64_t)w->mask.height;
    } else {
      assert_null(g->mask.counts);
    }
  }
  if (different * 100000 > all)
    fail_msg("%lu of %lu pixels differ", (unsigned long)different, (unsigned long)all);
}

static void expect_equal(const struct rank *got, const struct rank *want) {
  const struct image_features *g = &got->features->tensors, *w = &want->features->tensors;
  if (got->status != SAM3_OK)
    fail_msg("rank %d: %s", got->rank, got->err.message);
  for (int i = 0; i < NECK_LEVELS; i++)
    expect_tensor("a level of the neck", g->levels[i], w->levels[i]);
  expect_tensor("the fused features", g->fused, w->fused);
  expect_tensor("the CLS token", g->cls, w->cls);
  assert_int_equal(got->results->n_items, PROMPTS);
  for (size_t i = 0; i < PROMPTS; i++)
    expect_result(&got->results->items[i], &want->results->items[i], got->rank == 0);
  if (got->rank == 0) {
    size_t last = want->results->items[PROMPTS - 1].n_detections, cells = (size_t)w->levels[0].rows;
    expect_close("logits of queries", got->session->answers, want->session->answers,
                 want->model->network.config.queries, TOLERANCE_LOGITS);
    expect_close("logits of masks", got->session->masks, want->session->masks,
                 (int64_t)(((last - 1) % MASK_BATCH + 1) * cells), TOLERANCE);
  }
}

/* ------------------------------------------------------------------------------------- threads */

/* Runs ranks 0 .. n - 1 at once, each in a thread. */
static void run_threads(struct rank *ranks, int n) {
  pthread_t threads[GROUP_MAX];
  for (int i = 0; i < n; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
  for (int i = 0; i < n; i++)
    pthread_join(threads[i], NULL);
}

static void fill_ranks(struct rank *ranks, int n, sam3_model *model, struct split *split) {
  for (int i = 0; i < n; i++)
    ranks[i] = (struct rank){.model = model, .split = split, .rank = i, .slot = n % 2};
}

static void close_ranks(struct rank *ranks, int n) {
  for (int i = 0; i < n; i++)
    close_rank(&ranks[i]);
}

static void threads_equal_one_device(void **state) {
  static const int sizes[] = {1, 2, 3, 4, 5, 8};
  sam3_model *model = open_model(*state);
  struct rank want = alone(model), ranks[8];
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct split *split = new_split(model, SPLIT_AMONG_THREADS, sizes[i], LONG);
    fill_ranks(ranks, sizes[i], model, split);
    run_threads(ranks, sizes[i]);
    for (int j = 0; j < sizes[i]; j++)
      expect_equal(&ranks[j], &want);
    close_ranks(ranks, sizes[i]);
    split_free(split);
  }
  close_rank(&want);
  sam3_model_close(model);
}

/* A session serves splits and requests of its own in turn. */
static void a_session_serves_both(void **state) {
  (void)state;
  struct sam3_error err;
  sam3_model *model = open_model("ash");
  struct split *split = new_split(model, SPLIT_AMONG_THREADS, 2, LONG);
  struct rank want = alone(model), ranks[2];
  fill_ranks(ranks, 2, model, split);
  run_threads(ranks, 2);
  struct rank again = ranks[1];
  sam3_results_free(again.results);
  again.split = NULL;
  again.rank = 0;
  again.results = NULL;
  must(sam3_features_create(again.session, &again.features, &err), &err);
  again.status = answer(&again);
  expect_equal(&again, &want);
  sam3_results_free(again.results);
  sam3_features_free(again.features);
  ranks[1].results = NULL;
  close_ranks(ranks, 2);
  close_rank(&want);
  split_free(split);
  sam3_model_close(model);
}

/* ---------------------------------------------------------------------------------- what fails */

struct trouble {
  const char *name;
  enum fate fate;
  const char *stage;
  sam3_status status; /* of every rank */
};

static const struct trouble troubles[] = {
    {"cancelled in vision", CANCELS, "vision", SAM3_ERR_CANCELLED},
    {"cancelled in geometry", CANCELS, "geometry", SAM3_ERR_CANCELLED},
    {"cancelled in fusion", CANCELS, "fusion", SAM3_ERR_CANCELLED},
    {"cancelled in masks", CANCELS, "masks", SAM3_ERR_CANCELLED},
    {"broken in vision", BREAKS, "vision", SAM3_ERR_DEVICE},
    {"broken in neck", BREAKS, "neck", SAM3_ERR_DEVICE},
    {"broken in decoder", BREAKS, "decoder", SAM3_ERR_DEVICE},
    {"broken in masks", BREAKS, "masks", SAM3_ERR_DEVICE},
};

/* Every rank learns of it at once, and the next request is answered: after a break, by the group formed anew. */
static void trouble_reaches_all(void **state) {
  (void)state;
  sam3_model *model = open_model("ash");
  struct rank want = alone(model), ranks[3];
  struct split *split = new_split(model, SPLIT_AMONG_THREADS, 3, LONG);
  for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
    const struct trouble *t = &troubles[i];
    fill_ranks(ranks, 3, model, split);
    ranks[0].fate = t->fate;
    ranks[0].stage = t->stage;
    run_threads(ranks, 3);
    for (int j = 0; j < 3; j++) {
      if (ranks[j].status != t->status || ranks[j].seconds > LONG / 2)
        fail_msg("%s: rank %d ends with %s after %g s", t->name, j, sam3_status_name(ranks[j].status),
                 ranks[j].seconds);
      if (t->fate == BREAKS)
        assert_non_null(strstr(ranks[j].err.message, "the test says so"));
      assert_null(ranks[j].results);
    }
    close_ranks(ranks, 3);
    if (t->fate == BREAKS) {
      fill_ranks(ranks, 3, model, split);
      run_threads(ranks, 3); /* still broken */
      for (int j = 0; j < 3; j++)
        assert_int_equal(ranks[j].status, t->status);
      close_ranks(ranks, 3);
      split_form(split);
    }
    fill_ranks(ranks, 3, model, split);
    run_threads(ranks, 3);
    for (int j = 0; j < 3; j++)
      expect_equal(&ranks[j], &want);
    close_ranks(ranks, 3);
  }
  split_free(split);
  close_rank(&want);
  sam3_model_close(model);
}

static void only_rank_0_cancels(void **state) {
  (void)state;
  sam3_model *model = open_model("cedar");
  struct rank want = alone(model), ranks[2];
  struct split *split = new_split(model, SPLIT_AMONG_THREADS, 2, LONG);
  fill_ranks(ranks, 2, model, split);
  ranks[1].fate = CANCELS;
  ranks[1].stage = "vision";
  run_threads(ranks, 2);
  expect_equal(&ranks[0], &want);
  expect_equal(&ranks[1], &want);
  close_ranks(ranks, 2);
  split_free(split);
  close_rank(&want);
  sam3_model_close(model);
}

static void a_rank_that_never_comes(void **state) {
  (void)state;
  sam3_model *model = open_model("cedar");
  struct split *split = new_split(model, SPLIT_AMONG_THREADS, 3, SHORT);
  struct rank ranks[3];
  fill_ranks(ranks, 3, model, split);
  run_threads(ranks, 2); /* of 3 */
  for (int i = 0; i < 2; i++) {
    assert_int_equal(ranks[i].status, SAM3_ERR_DEVICE);
    assert_non_null(strstr(ranks[i].err.message, "rank 2 did not come within"));
    assert_true(ranks[i].seconds < SHORT + 20);
  }
  close_ranks(ranks, 2);
  split_free(split);
  sam3_model_close(model);
}

static void ranks_asked_for_different_things(void **state) {
  (void)state;
  sam3_model *model = open_model("cedar");
  struct split *split = new_split(model, SPLIT_AMONG_THREADS, 2, LONG);
  struct rank ranks[2];
  fill_ranks(ranks, 2, model, split);
  ranks[1].n_prompts = 1;
  run_threads(ranks, 2);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(ranks[i].status, SAM3_ERR_ARGUMENT);
    assert_non_null(strstr(ranks[i].err.message, "not asked for the same"));
  }
  close_ranks(ranks, 2);
  split_free(split);
  sam3_model_close(model);
}

static void bad_arguments(void **state) {
  (void)state;
  sam3_model *model = open_model("cedar"), *other = open_model("elm");
  struct split *split = new_split(model, SPLIT_AMONG_THREADS, 2, LONG), *none;
  struct split_size size;
  struct sam3_error err;
  struct rank r = {.model = model}, large = {.model = other};
  assert_int_equal(open_rank(&r), SAM3_OK);
  assert_int_equal(open_rank(&large), SAM3_OK);
  sam3_features *f;
  assert_int_equal(split_features(split, 2, 0, r.session, &f, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(split_features(split, -1, 0, r.session, &f, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(split_features(split, 0, 2, r.session, &f, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(split_features(split, 0, 0, large.session, &f, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(split_measure(r.session, 0, &size, &err), SAM3_ERR_LIMIT);
  assert_int_equal(split_measure(r.session, GROUP_MAX + 1, &size, &err), SAM3_ERR_LIMIT);
  assert_int_equal(split_measure(r.session, GROUP_MAX, &size, &err), SAM3_OK);
  assert_int_equal(split_create(&size, SPLIT_AMONG_THREADS, 2, 0, LONG, &none, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(split_create(&size, SPLIT_AMONG_THREADS, 2, 1, 0, &none, &err), SAM3_ERR_ARGUMENT);
  assert_int_equal(split_attach(-1, &none, &err), SAM3_ERR_IO);
  FILE *file = tmpfile();
  assert_non_null(file);
  assert_int_equal(split_attach(fileno(file), &none, &err), SAM3_ERR_FORMAT);
  assert_int_equal(ftruncate(fileno(file), 1 << 20), 0);
  assert_int_equal(split_attach(fileno(file), &none, &err), SAM3_ERR_FORMAT);
  fclose(file);
  close_rank(&r);
  close_rank(&large);
  split_free(split);
  sam3_model_close(model);
  sam3_model_close(other);
}

/* ----------------------------------------------------------------------------------- processes */

/* What a child tells its parent. */
static int exit_code(const struct rank *r) {
  return 10 + (int)r->status;
}

/* Starts rank `rank` in a process of its own, which maps the split anew. */
static pid_t start_process(sam3_model *model, const struct split *split, int rank, struct rank plan) {
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid)
    return pid;
  struct split *own;
  plan.model = model;
  plan.rank = rank;
  if (split_attach(split_descriptor(split), &own, NULL) != SAM3_OK)
    _exit(1);
  plan.split = own;
  run_rank(&plan);
  _exit(exit_code(&plan));
}

/* The status with which a child's rank ended; -1: it was killed. */
static int ended_with(pid_t pid) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (!WIFEXITED(status))
    return -1;
  assert_true(WEXITSTATUS(status) >= 10);
  return WEXITSTATUS(status) - 10;
}

/* This process is rank 0, children are the others; fates are those of the last. */
static struct rank run_processes(sam3_model *model, struct split *split, int n, struct rank last, int *ends) {
  pid_t pids[GROUP_MAX];
  for (int i = 1; i < n; i++)
    pids[i] = start_process(model, split, i, i == n - 1 ? last : (struct rank){0});
  struct rank first = {.model = model, .split = split};
  run_rank(&first);
  for (int i = 1; i < n; i++)
    ends[i] = ended_with(pids[i]);
  return first;
}

static void processes_equal_one_device(void **state) {
  sam3_model *model = open_model(*state);
  struct rank want = alone(model);
  for (int n = 2; n <= 3; n++) {
    int ends[GROUP_MAX];
    struct split *split = new_split(model, SPLIT_AMONG_PROCESSES, n, LONG);
    struct rank first = run_processes(model, split, n, (struct rank){0}, ends);
    expect_equal(&first, &want);
    for (int i = 1; i < n; i++)
      assert_int_equal(ends[i], SAM3_OK);
    close_rank(&first);
    split_free(split);
  }
  close_rank(&want);
  sam3_model_close(model);
}

/* A killed rank, and one that has no memory: the others end with an error, and the group formed anew answers. */
static void processes_that_fail(void **state) {
  static const struct {
    enum fate fate;
    const char *stage;
    int last;           /* what becomes of the process */
    sam3_status others; /* how the others end */
    const char *message;
  } cases[] = {
      {DIES, "vision", -1, SAM3_ERR_DEVICE, "rank 2 did not come"},
      {DIES, "neck", -1, SAM3_ERR_DEVICE, "rank 2 did not come"},
      {DIES, "fusion", -1, SAM3_ERR_DEVICE, "rank 2 did not come"},
      {DIES, "masks", -1, SAM3_ERR_DEVICE, "rank 2 did not come"},
      {LACKS_MEMORY, "decoder", SAM3_ERR_MEMORY, SAM3_ERR_MEMORY, "rank 2: out of memory"},
  };
  (void)state;
  sam3_model *model = open_model("cedar");
  struct rank want = alone(model);
  struct split *split = new_split(model, SPLIT_AMONG_PROCESSES, 3, 3);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int ends[GROUP_MAX];
    struct rank last = {.fate = cases[i].fate, .stage = cases[i].stage};
    struct rank first = run_processes(model, split, 3, last, ends);
    assert_int_equal(first.status, cases[i].others);
    if (!strstr(first.err.message, cases[i].message))
      fail_msg("case %zu: %s", i, first.err.message);
    assert_int_equal(ends[1], cases[i].others);
    assert_int_equal(ends[2], cases[i].last);
    assert_true(first.seconds < 30);
    close_rank(&first);
    split_form(split);
    first = run_processes(model, split, 3, (struct rank){0}, ends);
    expect_equal(&first, &want);
    assert_int_equal(ends[1], SAM3_OK);
    assert_int_equal(ends[2], SAM3_OK);
    close_rank(&first);
  }
  split_free(split);
  close_rank(&want);
  sam3_model_close(model);
}

int main(int argc, char **argv) {
  struct CMUnitTest tests[32] = {
      cmocka_unit_test(a_session_serves_both), cmocka_unit_test(trouble_reaches_all),
      cmocka_unit_test(only_rank_0_cancels),   cmocka_unit_test(a_rank_that_never_comes),
      cmocka_unit_test(bad_arguments),         cmocka_unit_test(ranks_asked_for_different_things),
      cmocka_unit_test(processes_that_fail),
  };
  size_t n = 7;
  if (argc != 2)
    return fprintf(stderr, "usage: %s FIXTURES\n", argv[0]), 2;
  fixtures = argv[1];
  for (size_t p = 0; p < sizeof presets / sizeof *presets; p++) {
    tests[n++] = (struct CMUnitTest){"threads", threads_equal_one_device, NULL, NULL, (void *)presets[p]};
    tests[n++] = (struct CMUnitTest){"processes", processes_equal_one_device, NULL, NULL, (void *)presets[p]};
  }
  return _cmocka_run_group_tests("split", tests, n, NULL, NULL);
}
