/* sam3_bench: every stage timed on the device, its work counted by the dry one. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/session.h"

#define MAX_STAGES 16
#define MAX_RUNS 100
#define BENCH_DETECTIONS 10

/* Sums time, or work, by stage. */
struct meter {
  const char *names[MAX_STAGES];
  double sums[MAX_STAGES];
  int n, current; /* current: -1 before the first stage */
  double since;   /* of the current stage */
  double (*read)(void *source);
  void *source;
};

static double read_clock(void *source) {
  (void)source;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static double read_flops(void *source) {
  return ((const struct dry_device *)source)->flops * 1e-9;
}

static void meter_stop(struct meter *m) {
  double now = m->read(m->source);
  if (m->current >= 0)
    m->sums[m->current] += now - m->since;
  m->since = now;
  m->current = -1;
}

static bool meter_progress(void *user, const char *stage, double fraction) {
  (void)fraction;
  struct meter *m = user;
  if (m->current >= 0 && strcmp(m->names[m->current], stage) == 0)
    return true;
  meter_stop(m);
  int i = 0;
  while (i < m->n && strcmp(m->names[i], stage) != 0)
    i++;
  if (i == m->n && m->n < MAX_STAGES)
    m->names[m->n++] = stage;
  m->current = i < MAX_STAGES ? i : -1;
  return true;
}

struct bench {
  sam3_session *session;
  const sam3_image *image;
  sam3_features *features;
  struct sam3_prompt prompt;
  struct sam3_segment_options options;
  int runs;
  double encode[MAX_RUNS], first[MAX_RUNS], further[MAX_RUNS];
  double stages[MAX_RUNS][MAX_STAGES];
  struct meter time, work; /* of the last run */
};

/* Random weights find nothing or everything: the threshold that keeps BENCH_DETECTIONS of the prompt's queries. */
static sam3_status choose_threshold(struct bench *b, struct sam3_error *err) {
  struct sam3_results *results;
  b->options.threshold = 0;
  TRY(sam3_encode(b->session, b->image, b->features, err));
  b->features->width = b->features->height = 8; /* scores do not depend on it, and masks of noise are large */
  TRY(sam3_segment(b->session, b->features, &b->prompt, 1, &b->options, &results, err));
  const struct sam3_result *result = &results->items[0];
  if (result->n_detections > BENCH_DETECTIONS)
    b->options.threshold = result->detections[BENCH_DETECTIONS].score;
  sam3_results_free(results);
  return SAM3_OK;
}

/* The prompt, its text not seen before. */
static sam3_status time_prompt(struct bench *b, double *ms, struct sam3_error *err) {
  struct sam3_results *results;
  memset(b->session->texts, 0, sizeof b->session->texts);
  double begin = read_clock(NULL);
  sam3_status status = sam3_segment(b->session, b->features, &b->prompt, 1, &b->options, &results, err);
  meter_stop(&b->time);
  *ms = read_clock(NULL) - begin;
  sam3_results_free(results);
  return status;
}

static sam3_status time_run(struct bench *b, int run, struct sam3_error *err) {
  meter_stop(&b->time);
  memset(b->time.sums, 0, sizeof b->time.sums);
  double begin = read_clock(NULL);
  TRY(sam3_encode(b->session, b->image, b->features, err));
  meter_stop(&b->time);
  b->encode[run] = read_clock(NULL) - begin;
  TRY(time_prompt(b, &b->first[run], err));
  memcpy(b->stages[run], b->time.sums, sizeof b->stages[run]);
  return time_prompt(b, &b->further[run], err);
}

/* The work of the same stages, counted dry. */
static sam3_status count_work(struct bench *b, struct sam3_error *err) {
  struct dry_device dry;
  struct arena arena = arena_dry();
  struct image_features image;
  const struct config *c = &b->session->model->network.config;
  device_dry_init(&dry);
  b->work = (struct meter){.current = -1, .read = read_flops, .source = &dry};
  const struct observer observer = {.progress = meter_progress, .user = &b->work};
  struct run r = session_run(b->session, &observer);
  r.dev = &dry.device;
  r.ops = dry.device.ops;
  r.arena = &arena;
  features_layout(c, &image, NULL);
  int32_t ids[CONFIG_MAX_CONTEXT] = {0};
  size_t n = 0;
  TRY(sam3_model_tokenize(b->session->model, b->prompt.text, ids, CONFIG_MAX_CONTEXT, &n, err));
  struct model_prompt prompt = {.texts = b->session->text_features, .text_rows = ids, .n_text = (int)n};
  struct model_answer answer;
  model_encode(&r, &image, NULL);
  encode_text(&r, take(&r, (int64_t)n, c->dim), ids, &prompt.n_text, 1);
  model_answer(&r, &answer, &image, &prompt);
  pixel_embeddings(&r, take(&r, image.levels[0].rows, c->dim), &image, answer.memory, answer.tokens);
  meter_stop(&b->work);
  return r.ops->sync(r.dev, err);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(const double *values, int n) {
  double sorted[MAX_RUNS];
  memcpy(sorted, values, (size_t)n * sizeof *sorted);
  qsort(sorted, (size_t)n, sizeof *sorted, by_value);
  return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

static double work_of(const struct bench *b, const char *stage) {
  for (int i = 0; i < b->work.n; i++)
    if (strcmp(b->work.names[i], stage) == 0)
      return b->work.sums[i];
  return 0;
}

static json_t *stages_json(const struct bench *b, double peak) {
  json_t *stages = json_array();
  for (int i = 0; i < b->time.n; i++) {
    double column[MAX_RUNS];
    for (int run = 0; run < b->runs; run++)
      column[run] = b->stages[run][i];
    double ms = median(column, b->runs), gflop = work_of(b, b->time.names[i]), rate = ms > 0 ? gflop / ms * 1e3 : 0;
    json_array_append_new(stages, json_pack("{ss sf sf sf sf}", "name", b->time.names[i], "ms", ms, "gflop", gflop,
                                            "gflops", rate, "share", peak > 0 ? rate / peak : 0));
  }
  return stages;
}

static sam3_status bench_json(const struct bench *b, double peak, char **json, struct sam3_error *err) {
  const struct device *dev = b->session->dev;
  json_t *runs = json_array();
  for (int i = 0; i < b->runs; i++)
    json_array_append_new(runs, json_pack("{sf sf sf}", "encode_ms", b->encode[i], "first_prompt_ms", b->first[i],
                                          "further_prompt_ms", b->further[i]));
  json_t *root = json_pack("{ss si ss sf so so sf sf sf}", "device", dev->name, "threads", dev->threads, "dtype",
                           sam3_dtype_name(dev->dtype), "peak_gflops", peak, "stages", stages_json(b, peak), "runs",
                           runs, "encode_ms", median(b->encode, b->runs), "first_prompt_ms", median(b->first, b->runs),
                           "further_prompt_ms", median(b->further, b->runs));
  *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
  json_decref(root);
  return *json ? SAM3_OK : fail(err, SAM3_ERR_MEMORY, "out of memory: the report of a benchmark");
}

static sam3_status noise(int size, sam3_image **image, struct sam3_error *err) {
  size_t n = (size_t)size * (size_t)size * 3;
  uint8_t *pixels = mem_alloc(n);
  if (!pixels)
    return fail_memory(err, n, "a test image");
  for (size_t i = 0; i < n; i++)
    pixels[i] = (uint8_t)((i * 2654435761u) >> 13);
  sam3_status status = sam3_image_from_rgb(pixels, size, size, image, err);
  free(pixels);
  return status;
}

static sam3_status run_bench(struct bench *b, char **json, struct sam3_error *err) {
  double peak = b->session->dev->ops->measure_peak(b->session->dev) * 1e-9;
  TRY(sam3_features_create(b->session, &b->features, err));
  TRY(choose_threshold(b, err)); /* and warm up */
  for (int i = 0; i < b->runs; i++)
    TRY(time_run(b, i, err));
  TRY(count_work(b, err));
  return bench_json(b, peak, json, err);
}

sam3_status sam3_bench(sam3_session *session, const struct sam3_bench_options *options, char **json,
                       struct sam3_error *err) {
  static const struct sam3_bench_options defaults;
  const struct sam3_bench_options *o = options ? options : &defaults;
  sam3_image *made = NULL;
  *json = NULL;
  if (o->runs < 0 || o->runs > MAX_RUNS)
    return fail(err, SAM3_ERR_ARGUMENT, "%d runs: 1 to %d", o->runs, MAX_RUNS);
  struct bench *b = mem_zeroed(1, sizeof *b);
  if (!b)
    return fail_memory(err, sizeof *b, "a benchmark");
  *b = (struct bench){.session = session,
                      .image = o->image,
                      .runs = o->runs ? o->runs : 3,
                      .prompt = {.text = o->text ? o->text : "dog"},
                      .time = {.current = -1, .read = read_clock}};
  const struct observer observer = {.progress = meter_progress, .user = &b->time};
  session->observer = &observer;
  sam3_status status = SAM3_OK;
  if (!o->image && (status = noise(session->model->network.config.vision.image, &made, err)) == SAM3_OK)
    b->image = made;
  if (status == SAM3_OK)
    status = run_bench(b, json, err);
  session->observer = NULL;
  sam3_features_free(b->features);
  sam3_image_free(made);
  free(b);
  return status;
}
