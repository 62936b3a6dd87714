/* What several devices gain: one request alone, a stream of requests, threads beside processes; what the coordinator
 * costs; how much memory worker processes share.
 *
 *   parallel [-n ROUNDS] [-r REQUESTS] MODEL DEVICE...      for example: parallel models/demo cpu:0 cpu:1
 *
 * In each round REQUESTS requests, one after another, go each through every way in turn, and then as many at once
 * through the ways whose point that is: what else the machine does so meets all of them. Medians are printed as JSON.
 * Every request has an image of its own (noise, 800 x 600), so each is encoded, and about ten detections.
 * docs/benchmarks.md explains the figures.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sam3.h"

enum { MAX_ROUNDS = 101, MAX_REQUESTS = 256, WIDTH = 800, HEIGHT = 600, DETECTIONS = 10 };

static const struct sam3_prompt prompt = {.text = "dog"};
static struct sam3_segment_options asked; /* chosen by choose_threshold() */

static double clock_of(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double seconds(void) {
  return clock_of(CLOCK_MONOTONIC);
}

/* Of the processor, that this process has taken. */
static double cpu_seconds(void) {
  return clock_of(CLOCK_PROCESS_CPUTIME_ID);
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

/* ---------------------------------------------------------------------------------------- engines */

struct devices {
  const char *model, *const *names;
  size_t count;
};

static sam3_engine *open_engine(const struct devices *devices, size_t n, sam3_parallel parallel,
                                sam3_schedule schedule) {
  struct sam3_error err;
  sam3_engine *engine;
  const struct sam3_engine_options options = {.devices = devices->names,
                                              .n_devices = n,
                                              .parallel = parallel,
                                              .schedule = schedule,
                                              .cache_bytes = 1, /* no image comes twice */
                                              .worker = getenv("SAM3_PROGRAM")};
  must(sam3_engine_open(devices->model, &options, &engine, &err), &err);
  return engine;
}

static sam3_job *submit(sam3_engine *engine, sam3_image *image) {
  const struct sam3_request request = {
      .image = image, .prompts = &prompt, .n_prompts = 1, .threshold = asked.threshold};
  struct sam3_error err;
  sam3_job *job;
  must(sam3_engine_submit(engine, &request, &job, &err), &err);
  return job;
}

static void finish(sam3_job *job) {
  struct sam3_error err;
  struct sam3_results *results;
  must(sam3_job_wait(job, &results, &err), &err);
  sam3_results_free(results);
  sam3_job_free(job);
}

/* Seconds that a worker has computed. */
static double computed(sam3_engine *engine, size_t worker) {
  struct sam3_worker_stats stats = sam3_engine_worker_stats(engine, worker);
  double sum = 0;
  for (size_t i = 0; i < SAM3_MAX_STAGES && stats.stages[i].stage; i++)
    sum += stats.stages[i].seconds;
  return sum;
}

/* ------------------------------------------------------------------------------------------- time */

/* A way to serve requests. */
struct way {
  const char *name;
  size_t devices; /* 0: all */
  sam3_parallel parallel;
  sam3_schedule schedule;
  bool stream; /* all requests at once, not one after another */
  sam3_engine *engine;
  struct sam3_worker_stats before; /* of worker 0, when it began to count */
  size_t count;
  double times[MAX_ROUNDS * MAX_REQUESTS];  /* seconds a request */
  double beside[MAX_ROUNDS * MAX_REQUESTS]; /* of these not spent in the stages of worker 0 */
  double cpu[MAX_ROUNDS * MAX_REQUESTS];    /* seconds of the processor a request; of threads alone */
};

static void measure(struct way *way, sam3_image *image) {
  double before = computed(way->engine, 0), start = seconds(), cpu = cpu_seconds();
  finish(submit(way->engine, image));
  way->times[way->count] = seconds() - start;
  way->cpu[way->count] = cpu_seconds() - cpu;
  way->beside[way->count] = way->times[way->count] - (computed(way->engine, 0) - before);
  way->count++;
}

static void measure_stream(struct way *way, size_t n) {
  sam3_image *images[MAX_REQUESTS];
  sam3_job *jobs[MAX_REQUESTS];
  for (size_t i = 0; i < n; i++)
    images[i] = noise();
  double start = seconds(), cpu = cpu_seconds();
  for (size_t i = 0; i < n; i++)
    jobs[i] = submit(way->engine, images[i]);
  for (size_t i = 0; i < n; i++)
    finish(jobs[i]);
  way->times[way->count] = (seconds() - start) / (double)n;
  way->cpu[way->count++] = (cpu_seconds() - cpu) / (double)n;
  for (size_t i = 0; i < n; i++)
    sam3_image_free(images[i]);
}

struct alone {
  sam3_session *session;
  sam3_features *features;
  size_t count;
  double times[MAX_ROUNDS * MAX_REQUESTS];
};

static void measure_session(struct alone *alone, sam3_image *image) {
  struct sam3_error err;
  struct sam3_results *results;
  double start = seconds();
  must(sam3_encode(alone->session, image, alone->features, &err), &err);
  must(sam3_segment(alone->session, alone->features, &prompt, 1, &asked, &results, &err), &err);
  sam3_results_free(results);
  alone->times[alone->count++] = seconds() - start;
}

/* Random weights find nothing or everything: the threshold that keeps DETECTIONS of an image's, or all. */
static void choose_threshold(struct alone *alone) {
  struct sam3_error err;
  struct sam3_results *results;
  sam3_image *image = noise();
  must(sam3_encode(alone->session, image, alone->features, &err), &err);
  must(sam3_segment(alone->session, alone->features, &prompt, 1, &asked, &results, &err), &err);
  const struct sam3_result *result = &results->items[0];
  if (result->n_detections > DETECTIONS)
    asked.threshold = result->detections[DETECTIONS].score; /* the best come first */
  sam3_results_free(results);
  sam3_image_free(image);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* Sorts the values. */
static double median(double *values, size_t n) {
  qsort(values, n, sizeof *values, by_value);
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Milliseconds a request in a stage of worker 0; 0 when it has no such stage. */
static double stage_ms(const struct way *way, const char *stage) {
  struct sam3_worker_stats now = sam3_engine_worker_stats(way->engine, 0);
  const struct sam3_worker_stats *both[] = {&way->before, &now};
  double sum[2] = {0};
  for (int i = 0; i < 2; i++)
    for (size_t k = 0; k < SAM3_MAX_STAGES && both[i]->stages[k].stage; k++)
      if (strcmp(both[i]->stages[k].stage, stage) == 0)
        sum[i] = both[i]->stages[k].seconds;
  return (sum[1] - sum[0]) * 1e3 / (double)way->count;
}

static void print_stages(const struct way *alone, const struct way *split) {
  struct sam3_worker_stats stats = sam3_engine_worker_stats(alone->engine, 0);
  printf(",\n \"stages_ms\": {");
  for (size_t i = 0; i < SAM3_MAX_STAGES && stats.stages[i].stage; i++) {
    const char *stage = stats.stages[i].stage;
    printf("%s\"%s\": [%.2f, %.2f]", i ? ", " : "", stage, stage_ms(alone, stage), stage_ms(split, stage));
  }
  printf("}");
}

/* What follows for more devices. Of a request that takes `one` seconds of the processor alone and `all` on n ranks
 * together, each of them repeats (all - one) / (n - 1), and the rest is divided. */
static void print_model(double one, double all, size_t n) {
  double repeated = (all - one) / (double)(n - 1);
  printf(",\n \"split, modelled\": {\"repeated_ms\": %.2f", repeated * 1e3);
  for (int ranks = 2; ranks <= 8; ranks *= 2) {
    double took = (one - repeated) / ranks + repeated;
    printf(", \"%d\": {\"ms\": %.2f, \"gain\": %.3f}", ranks, took * 1e3, one / took);
  }
  printf("}");
}

static void measure_all(const struct devices *devices, sam3_model *model, size_t rounds, size_t requests) {
  enum { ONE_THREAD, SPLIT_THREADS = 2 };
  static struct way ways[] = {
      {"one thread", 1, SAM3_PARALLEL_THREADS, SAM3_SCHEDULE_REPLICATE, false},
      {"one process", 1, SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_REPLICATE, false},
      {"split, threads", 0, SAM3_PARALLEL_THREADS, SAM3_SCHEDULE_SPLIT, false},
      {"split, processes", 0, SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_SPLIT, false},
      {"replicate, threads", 0, SAM3_PARALLEL_THREADS, SAM3_SCHEDULE_REPLICATE, true},
      {"replicate, processes", 0, SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_REPLICATE, true},
  };
  enum { WAYS = sizeof ways / sizeof *ways };
  static struct alone alone;
  struct sam3_error err;
  const struct sam3_session_options first = {.device = devices->names[0]};
  must(sam3_session_open(model, &first, &alone.session, &err), &err);
  must(sam3_features_create(alone.session, &alone.features, &err), &err);
  choose_threshold(&alone);
  for (size_t i = 0; i < WAYS; i++) {
    size_t n = ways[i].devices ? ways[i].devices : devices->count;
    ways[i].engine = open_engine(devices, n, ways[i].parallel, ways[i].schedule);
    if (rounds > 1)
      measure_stream(&ways[i], ways[i].stream ? n : 1);
    ways[i].count = 0; /* the first time does not count, where there is another */
    ways[i].before = sam3_engine_worker_stats(ways[i].engine, 0);
  }
  for (size_t r = 0; r < rounds; r++) {
    for (size_t k = 0; k < requests; k++) {
      sam3_image *image = noise();
      measure_session(&alone, image);
      for (size_t i = 0; i < WAYS; i++)
        if (!ways[i].stream)
          measure(&ways[i], image);
      sam3_image_free(image);
    }
    for (size_t i = 0; i < WAYS; i++)
      if (ways[i].stream)
        measure_stream(&ways[i], requests > devices->count ? requests : devices->count);
  }
  double base = median(alone.times, alone.count);
  printf(" \"session\": {\"ms\": %.3f}", base * 1e3);
  for (size_t i = 0; i < WAYS; i++) {
    double took = median(ways[i].times, ways[i].count);
    printf(",\n \"%s\": {\"ms\": %.3f, \"gain\": %.3f", ways[i].name, took * 1e3, base / took);
    if (ways[i].parallel == SAM3_PARALLEL_THREADS)
      printf(", \"cpu_ms\": %.3f", median(ways[i].cpu, ways[i].count) * 1e3);
    if (!ways[i].stream)
      printf(", \"coordinator_ms\": %.3f", median(ways[i].beside, ways[i].count) * 1e3);
    printf("}");
  }
  if (devices->count > 1) {
    struct way *one = &ways[ONE_THREAD], *split = &ways[SPLIT_THREADS];
    print_stages(one, split);
    print_model(median(one->cpu, one->count), median(split->cpu, split->count), devices->count);
  }
  for (size_t i = 0; i < WAYS; i++)
    sam3_engine_close(ways[i].engine);
  sam3_features_free(alone.features);
  sam3_session_close(alone.session);
}

/* ----------------------------------------------------------------------------------------- memory */

/* Bytes of a process, of pages that k processes share its k-th part. */
static double proportional_bytes(int process) {
  char path[64], line[256];
  double kilobytes = -1;
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", process);
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "Pss: %lf", &kilobytes) == 1)
      break;
  if (file)
    fclose(file);
  if (kilobytes < 0) {
    fprintf(stderr, "parallel: %s does not say Pss\n", path);
    exit(1);
  }
  return kilobytes * 1024;
}

/* Worker processes that have all answered something; `own` is what one has for itself: activations and the like. */
static double workers_bytes(const struct devices *devices, size_t n, double *own) {
  sam3_engine *engine = open_engine(devices, n, SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_REPLICATE);
  struct way way = {.engine = engine};
  double bytes = 0;
  for (size_t i = 0; i < n; i++)
    while (sam3_engine_worker_stats(engine, i).requests == 0)
      measure_stream(&way, n);
  for (size_t i = 0; i < n; i++)
    bytes += proportional_bytes(sam3_engine_worker_stats(engine, i).process);
  *own = (double)sam3_engine_worker_stats(engine, 0).memory;
  sam3_engine_close(engine);
  return bytes;
}

static void measure_memory(const struct devices *devices) {
  double own, one = workers_bytes(devices, 1, &own), all = workers_bytes(devices, devices->count, &own);
  printf(",\n \"memory\": {\"one_process_mb\": %.1f, \"all_processes_mb\": %.1f, \"activations_mb\": %.1f, \"ratio\": "
         "%.3f}",
         one / 1e6, all / 1e6, own / 1e6, (all - (double)(devices->count - 1) * own) / one);
}

int main(int argc, char **argv) {
  static const char usage[] = "usage: parallel [-n ROUNDS] [-r REQUESTS] MODEL DEVICE...\n";
  size_t rounds = 5, requests = 8;
  for (int flag; (flag = getopt(argc, argv, "n:r:")) != -1;) {
    size_t value = flag == '?' ? 0 : strtoul(optarg, NULL, 10);
    if (value < 1 || value > (flag == 'n' ? MAX_ROUNDS : MAX_REQUESTS))
      return fputs(usage, stderr), 2;
    *(flag == 'n' ? &rounds : &requests) = value;
  }
  if (argc - optind < 2)
    return fputs(usage, stderr), 2;
  const struct devices devices = {argv[optind], (const char *const *)argv + optind + 1, (size_t)(argc - optind - 1)};
  struct sam3_error err;
  sam3_model *model;
  must(sam3_model_open(devices.model, &model, &err), &err);
  printf("{\"model\": \"%s\", \"devices\": %zu, \"rounds\": %zu, \"requests\": %zu,\n", sam3_model_name(model),
         devices.count, rounds, requests);
  measure_all(&devices, model, rounds, requests);
  fflush(stdout);
  sam3_model_close(model); /* its pages would count as shared */
  measure_memory(&devices);
  printf("}\n");
}
