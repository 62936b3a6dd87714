/* What several devices gain: one request alone, a stream of requests, threads beside processes, the coordinator's cost.
 *
 *   parallel [-n ROUNDS] [-r REQUESTS] MODEL DEVICE...      for example: parallel models/demo cpu:0 cpu:1
 *
 * Each round measures every way in turn, with REQUESTS requests one after another or, where many at a time are the
 * point, all at once; what else the machine does so meets all of them. Medians are printed as JSON. Every request has
 * an image of its own (noise, 800 x 600), so each is encoded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sam3.h"

enum { MAX_ROUNDS = 101, WIDTH = 800, HEIGHT = 600 };

static const struct sam3_prompt prompt = {.text = "dog"};

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void must(sam3_status status, const struct sam3_error *err) {
  if (status == SAM3_OK)
    return;
  fprintf(stderr, "parallel: %s\n", err->message);
  exit(1);
}

static sam3_image *noise(void) {
  static uint8_t pixels[HEIGHT * WIDTH * 3];
  static unsigned random = 1;
  for (size_t i = 0; i < sizeof pixels; i++)
    pixels[i] = (uint8_t)((random = random * 1103515245u + 12345u) >> 24);
  struct sam3_error err;
  sam3_image *image;
  must(sam3_image_from_rgb(pixels, WIDTH, HEIGHT, &image, &err), &err);
  return image;
}

/* A way to serve requests; NULL engine: a session alone. */
struct way {
  const char *name;
  size_t devices;
  sam3_parallel parallel;
  sam3_schedule schedule;
  bool stream; /* all requests at once, not one after another */
  sam3_engine *engine;
  double times[MAX_ROUNDS]; /* seconds a request */
};

/* Seconds a request of `n`. */
static double measure(struct way *way, size_t n) {
  struct sam3_error err;
  struct sam3_results *results;
  sam3_image *images[256];
  sam3_job *jobs[256];
  for (size_t i = 0; i < n; i++)
    images[i] = noise();
  double start = seconds();
  for (size_t i = 0; i < n; i++) {
    struct sam3_request request = {.image = images[i], .prompts = &prompt, .n_prompts = 1, .threshold = 0.5f};
    must(sam3_engine_submit(way->engine, &request, &jobs[i], &err), &err);
    if (!way->stream) {
      must(sam3_job_wait(jobs[i], &results, &err), &err);
      sam3_results_free(results);
    }
  }
  for (size_t i = 0; i < n && way->stream; i++) {
    must(sam3_job_wait(jobs[i], &results, &err), &err);
    sam3_results_free(results);
  }
  double took = seconds() - start;
  for (size_t i = 0; i < n; i++) {
    sam3_job_free(jobs[i]);
    sam3_image_free(images[i]);
  }
  return took / (double)n;
}

static double measure_session(sam3_session *session, sam3_features *features) {
  struct sam3_error err;
  struct sam3_results *results;
  sam3_image *image = noise();
  double start = seconds();
  must(sam3_encode(session, image, features, &err), &err);
  must(sam3_segment(session, features, &prompt, 1, NULL, &results, &err), &err);
  sam3_results_free(results);
  double took = seconds() - start;
  sam3_image_free(image);
  return took;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double median(double *values, size_t n) {
  qsort(values, n, sizeof *values, by_value);
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

int main(int argc, char **argv) {
  size_t rounds = 5, requests = 8;
  for (int flag; (flag = getopt(argc, argv, "n:r:")) != -1;) {
    size_t value = flag == '?' ? 0 : strtoul(optarg, NULL, 10);
    if (value < 1 || value > (flag == 'n' ? MAX_ROUNDS : 256))
      return fprintf(stderr, "usage: parallel [-n ROUNDS] [-r REQUESTS] MODEL DEVICE...\n"), 2;
    *(flag == 'n' ? &rounds : &requests) = value;
  }
  if (argc - optind < 2)
    return fprintf(stderr, "usage: parallel [-n ROUNDS] [-r REQUESTS] MODEL DEVICE...\n"), 2;
  const char *model_path = argv[optind], *const *devices = (const char *const *)argv + optind + 1;
  size_t n_devices = (size_t)(argc - optind - 1);
  struct way ways[] = {
      {"one thread", 1, SAM3_PARALLEL_THREADS, SAM3_SCHEDULE_REPLICATE, false, NULL, {0}},
      {"one process", 1, SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_REPLICATE, false, NULL, {0}},
      {"replicate, threads", n_devices, SAM3_PARALLEL_THREADS, SAM3_SCHEDULE_REPLICATE, true, NULL, {0}},
      {"replicate, processes", n_devices, SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_REPLICATE, true, NULL, {0}},
      {"split, threads", n_devices, SAM3_PARALLEL_THREADS, SAM3_SCHEDULE_SPLIT, false, NULL, {0}},
      {"split, processes", n_devices, SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_SPLIT, false, NULL, {0}},
  };
  enum { WAYS = sizeof ways / sizeof *ways };
  struct sam3_error err;
  sam3_model *model;
  sam3_session *session;
  sam3_features *features;
  const struct sam3_session_options first = {.device = devices[0]};
  must(sam3_model_open(model_path, &model, &err), &err);
  must(sam3_session_open(model, &first, &session, &err), &err);
  must(sam3_features_create(session, &features, &err), &err);
  for (size_t i = 0; i < WAYS; i++) {
    const struct sam3_engine_options options = {.devices = devices,
                                                .n_devices = ways[i].devices,
                                                .parallel = ways[i].parallel,
                                                .schedule = ways[i].schedule,
                                                .worker = getenv("SAM3_PROGRAM")};
    must(sam3_engine_open(model_path, &options, &ways[i].engine, &err), &err);
    measure(&ways[i], n_devices); /* does not count */
  }
  measure_session(session, features);
  double alone[MAX_ROUNDS];
  for (size_t r = 0; r < rounds; r++) {
    alone[r] = 0;
    for (size_t i = 0; i < requests; i++)
      alone[r] += measure_session(session, features) / (double)requests;
    for (size_t i = 0; i < WAYS; i++)
      ways[i].times[r] = measure(&ways[i], requests);
  }
  double base = median(alone, rounds);
  printf("{\"model\": \"%s\", \"devices\": %zu, \"rounds\": %zu,\n \"session\": {\"ms\": %.3f}", sam3_model_name(model),
         n_devices, rounds, base * 1e3);
  for (size_t i = 0; i < WAYS; i++) {
    double took = median(ways[i].times, rounds);
    printf(",\n \"%s\": {\"ms\": %.3f, \"gain\": %.3f}", ways[i].name, took * 1e3, base / took);
    sam3_engine_close(ways[i].engine);
  }
  printf("}\n");
  sam3_features_free(features);
  sam3_session_close(session);
  sam3_model_close(model);
}
