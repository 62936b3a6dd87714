/* What a program under a launcher does, with the public API alone; test_launch.py runs it in many ways.
 *
 *   launch_program MODEL REQUESTS [DEVICE...]      SAM3_LAUNCHER=env takes the variables as they are
 *
 * Rank 0 prints a line for each event: "ready N", "answer I DEVICE TEXT", "error I MESSAGE", at the end for each worker
 * "worker I DEVICE STATE PROCESS REQUESTS RESTARTS". After "ready" it waits for a line on standard input when
 * LAUNCH_WAIT is set, and between the requests for LAUNCH_PAUSE ms. The others print nothing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sam3.h"

enum { MAX_REQUESTS = 1000, WIDTH = 96, HEIGHT = 64 };

static int complain(const struct sam3_error *err) {
  fprintf(stderr, "launch_program: %s\n", err->message);
  return 1;
}

static sam3_image *make_image(int seed) {
  static uint8_t pixels[WIDTH * HEIGHT * 3];
  sam3_image *image;
  for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
    pixels[i] = (uint8_t)(128 + 90 * sin(i % 288 / (17.0 + seed)) * cos(i / 288 / 5.0) + i % 3 * 12);
  return sam3_image_from_rgb(pixels, WIDTH, HEIGHT, &image, NULL) == SAM3_OK ? image : NULL;
}

static sam3_job *submit(sam3_engine *engine, int number) {
  static const struct sam3_box box = {10, 8, 60, 40, true};
  static const struct sam3_prompt prompts[] = {{.text = "red car"}, {.text = "dog", .boxes = &box, .n_boxes = 1}};
  sam3_image *image = make_image(number);
  const struct sam3_request request = {.image = image, .prompts = prompts, .n_prompts = 2, .threshold = 0.3f};
  struct sam3_error err;
  sam3_job *job;
  if (sam3_engine_submit(engine, &request, &job, &err) != SAM3_OK)
    printf("error %d %s\n", number, err.message);
  sam3_image_free(image);
  return job;
}

static void print_answer(sam3_job *job, int number) {
  struct sam3_results *results;
  struct sam3_error err;
  char *text = NULL;
  sam3_status status = sam3_job_wait(job, &results, &err);
  if (status == SAM3_OK)
    status = sam3_results_format(results, SAM3_FORMAT_JSON, "m", "i", &text, &err);
  if (status == SAM3_OK)
    printf("answer %d %s %s", number, sam3_job_state(job).device, text);
  else
    printf("error %d %s\n", number, err.message);
  free(text);
  sam3_results_free(results);
  sam3_job_free(job);
}

static void print_workers(sam3_engine *engine) {
  static const char *const states[] = {"starting", "idle", "busy", "dead"};
  for (size_t i = 0; i < sam3_engine_stats(engine).n_workers; i++) {
    struct sam3_worker_stats w = sam3_engine_worker_stats(engine, i);
    printf("worker %zu %s %s %d %llu %llu\n", i, w.device, states[w.state], w.process, (unsigned long long)w.requests,
           (unsigned long long)w.restarts);
  }
}

static int lead(sam3_engine *engine, int requests) {
  static sam3_job *jobs[MAX_REQUESTS];
  char line[16];
  printf("ready %zu\n", sam3_engine_stats(engine).n_workers);
  print_workers(engine);
  if (getenv("LAUNCH_WAIT") && !fgets(line, sizeof line, stdin))
    return 1;
  const char *pause = getenv("LAUNCH_PAUSE");
  for (int i = 0; i < requests; i++) {
    jobs[i] = submit(engine, i);
    usleep(pause ? (useconds_t)atoi(pause) * 1000 : 0);
  }
  for (int i = 0; i < requests; i++)
    if (jobs[i])
      print_answer(jobs[i], i);
  print_workers(engine);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3)
    return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  const char *asked = getenv("SAM3_LAUNCHER");
  sam3_launcher launcher = asked && strcmp(asked, "env") == 0 ? SAM3_LAUNCHER_ENVIRONMENT : SAM3_LAUNCHER_AUTO;
  struct sam3_launch launch;
  struct sam3_error err;
  if (sam3_launch_from_environment(launcher, &launch, &err) != SAM3_OK)
    return complain(&err);
  const struct sam3_engine_options options = {
      .devices = (const char *const *)argv + 3, .n_devices = (size_t)argc - 3, .launch = &launch};
  if (launch.rank > 0)
    return sam3_launch_serve(&launch, argv[1], &options, &err) == SAM3_OK ? 0 : complain(&err);
  sam3_engine *engine;
  if (sam3_engine_open(argv[1], &options, &engine, &err) != SAM3_OK)
    return complain(&err);
  int requests = atoi(argv[2]);
  int code = lead(engine, requests < MAX_REQUESTS ? requests : MAX_REQUESTS);
  sam3_engine_close(engine);
  return code;
}
