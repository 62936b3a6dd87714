/* The engine: workers as threads and as processes, its queue, what happens when a worker dies.
 *
 *   test_workers FIXTURES MODELS PROGRAM      tests/model/fixtures, the folder of the built models, sam3 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/queue.h"
#include "engine/task.h"
#include "engine/wire.h"
#include "sam3.h"

static const char *program;
static char model_path[64]; /* a Hugging Face directory of links */

static void must(sam3_status status, const struct sam3_error *err) {
  if (status != SAM3_OK)
    fail_msg("%s: %s", sam3_status_name(status), err->message);
}

static sam3_image *test_image(int seed) {
  static uint8_t pixels[64 * 96 * 3];
  struct sam3_error err;
  sam3_image *image;
  for (int i = 0; i < 64 * 96 * 3; i++)
    pixels[i] = (uint8_t)(128 + 90 * sin(i % 288 / (17.0 + seed)) * cos(i / 288 / 5.0) + i % 3 * 12);
  must(sam3_image_from_rgb(pixels, 96, 64, &image, &err), &err);
  return image;
}

static const char *const all_devices[] = {"cpu:0", "cpu:0", "cpu:0"}; /* every machine has it */

static sam3_engine *open_scheduled(sam3_parallel parallel, sam3_schedule schedule, size_t devices, size_t queue) {
  struct sam3_error err;
  sam3_engine *engine;
  const struct sam3_engine_options options = {.devices = all_devices,
                                              .n_devices = devices,
                                              .parallel = parallel,
                                              .schedule = schedule,
                                              .queue_requests = queue,
                                              .worker = program};
  must(sam3_engine_open(model_path, &options, &engine, &err), &err);
  return engine;
}

static sam3_engine *open_engine(sam3_parallel parallel, size_t devices, size_t queue) {
  return open_scheduled(parallel, SAM3_SCHEDULE_REPLICATE, devices, queue);
}

static const struct sam3_box box = {10, 8, 60, 40, true};
static const struct sam3_prompt prompts[] = {{.text = "red car"}, {.text = "dog", .boxes = &box, .n_boxes = 1}};

static struct sam3_request request_of(sam3_image *image) {
  return (struct sam3_request){.image = image, .prompts = prompts, .n_prompts = 2, .threshold = 0.3f};
}

static sam3_job *submit(sam3_engine *engine, const struct sam3_request *request) {
  struct sam3_error err;
  sam3_job *job;
  must(sam3_engine_submit(engine, request, &job, &err), &err);
  return job;
}

/* As JSON, without the model. */
static char *text_of(const struct sam3_results *results) {
  struct sam3_error err;
  char *text;
  must(sam3_results_format(results, SAM3_FORMAT_JSON, "m", "i", &text, &err), &err);
  return text;
}

/* What a session alone answers. */
static struct sam3_results *session_answer(sam3_image *image) {
  struct sam3_error err;
  sam3_model *model;
  sam3_session *session;
  sam3_features *features;
  struct sam3_results *results;
  const struct sam3_segment_options options = {0.3f};
  must(sam3_model_open(model_path, &model, &err), &err);
  must(sam3_session_open(model, NULL, &session, &err), &err);
  must(sam3_features_create(session, &features, &err), &err);
  must(sam3_encode(session, image, features, &err), &err);
  must(sam3_segment(session, features, prompts, 2, &options, &results, &err), &err);
  sam3_features_free(features);
  sam3_session_close(session);
  sam3_model_close(model);
  return results;
}

/* The same as text; free with free(). */
static char *expected(sam3_image *image) {
  struct sam3_results *results = session_answer(image);
  char *text = text_of(results);
  sam3_results_free(results);
  return text;
}

static bool same_mask(const struct sam3_rle *a, const struct sam3_rle *b) {
  return a->n_counts == b->n_counts && memcmp(a->counts, b->counts, a->n_counts * sizeof *a->counts) == 0;
}

/* Equal up to the rounding of sums in another order, or to the bit. */
static bool same_results(const struct sam3_results *a, const struct sam3_results *b, bool exact) {
  if (a->n_items != b->n_items)
    return false;
  for (size_t i = 0; i < a->n_items; i++) {
    if (a->items[i].n_detections != b->items[i].n_detections)
      return false;
    for (size_t k = 0; k < a->items[i].n_detections; k++) {
      const struct sam3_detection *x = &a->items[i].detections[k], *y = &b->items[i].detections[k];
      if (x->query != y->query || !(fabs((double)x->score - (double)y->score) <= (exact ? 0 : 1e-5)) ||
          llabs((long long)x->area - (long long)y->area) > 2 || (exact && !same_mask(&x->mask, &y->mask)))
        return false;
    }
  }
  return true;
}

static void nearly_answers_as(sam3_job *job, const struct sam3_results *wanted) {
  struct sam3_error err;
  struct sam3_results *results;
  must(sam3_job_wait(job, &results, &err), &err);
  assert_true(same_results(results, wanted, false));
  sam3_results_free(results);
}

static void answers_as(sam3_job *job, const char *wanted) {
  struct sam3_error err;
  struct sam3_results *results;
  must(sam3_job_wait(job, &results, &err), &err);
  char *text = text_of(results);
  assert_string_equal(text, wanted);
  free(text);
  sam3_results_free(results);
}

static sam3_status end_of(sam3_job *job) {
  struct sam3_error err;
  struct sam3_results *results;
  sam3_status status = sam3_job_wait(job, &results, &err);
  sam3_results_free(results);
  return status;
}

static uint64_t sum(sam3_engine *engine, size_t member) {
  uint64_t total = 0;
  for (size_t i = 0; i < sam3_engine_stats(engine).n_workers; i++) {
    struct sam3_worker_stats stats = sam3_engine_worker_stats(engine, i);
    total += *(uint64_t *)((char *)&stats + member);
  }
  return total;
}
#define SUM(engine, member) sum(engine, offsetof(struct sam3_worker_stats, member))

/* ------------------------------------------------------------------------------------------ queue */

static void clients_take_turns(void **state) {
  (void)state;
  struct queue queue = {0};
  struct queued items[7];
  static const uint64_t clients[] = {1, 1, 1, 2, 1, 3, 2};
  static const bool background[] = {false, false, false, false, true, false, false};
  static const int order[] = {0, 3, 5, 1, 6, 2, 4};
  for (int i = 0; i < 7; i++)
    queue_add(&queue, &items[i], clients[i], background[i]);
  for (size_t i = 0; i < 7; i++)
    assert_int_equal(queue_position(&queue, &items[order[i]]), i);
  assert_true(queue_remove(&queue, &items[0]));
  assert_true(queue_remove(&queue, &items[3]));
  assert_false(queue_remove(&queue, &items[3]));
  /* Who was just served comes after those who wait in this round. */
  struct queued again;
  queue_add(&queue, &again, 1, false);
  assert_int_equal(queue_position(&queue, &again), 4);
  assert_int_equal(queue_position(&queue, &items[5]), 0);
  queue_return(&queue, &items[0]);
  assert_int_equal(queue_position(&queue, &items[0]), 0);
  assert_int_equal(queue.count, 7);
}

/* One who leaves from far behind does not make newcomers wait for those before him. */
static void leaving_moves_no_turns(void **state) {
  (void)state;
  struct queue queue = {0};
  struct queued items[5], newcomer;
  for (int i = 0; i < 5; i++)
    queue_add(&queue, &items[i], 1, false);
  assert_true(queue_remove(&queue, &items[4]));
  queue_add(&queue, &newcomer, 2, false);
  assert_int_equal(queue_position(&queue, &newcomer), 1);
}

/* --------------------------------------------------------------------------------------- answers */

static void answers_are_those_of_a_session(void **state) {
  sam3_parallel parallel = *(sam3_parallel *)*state;
  sam3_engine *engine = open_engine(parallel, 2, 0);
  sam3_image *images[3];
  sam3_job *jobs[12];
  char *wanted[3];
  for (int i = 0; i < 3; i++) {
    images[i] = test_image(i);
    wanted[i] = expected(images[i]);
  }
  assert_string_not_equal(wanted[0], wanted[1]);
  for (int i = 0; i < 12; i++) {
    struct sam3_request request = request_of(images[i % 3]);
    jobs[i] = submit(engine, &request);
  }
  for (int i = 0; i < 12; i++) {
    answers_as(jobs[i], wanted[i % 3]);
    struct sam3_job_state job = sam3_job_state(jobs[i]);
    assert_int_equal(job.phase, SAM3_DONE);
    assert_string_equal(job.device, "cpu:0");
    sam3_job_free(jobs[i]);
  }
  assert_int_equal(SUM(engine, requests), 12);
  assert_int_equal(SUM(engine, images), 3); /* requests that share an image share its encoding */
  assert_int_equal(SUM(engine, cache_hits), 9);
  assert_int_equal(SUM(engine, cached), 3);
  assert_int_equal(sam3_engine_stats(engine).done, 12);
  for (size_t i = 0; i < 2; i++) {
    struct sam3_worker_stats stats = sam3_engine_worker_stats(engine, i);
    assert_int_equal(stats.process != 0, parallel == SAM3_PARALLEL_PROCESSES);
    assert_true(stats.memory > 0 && stats.weights > 0);
  }
  for (int i = 0; i < 3; i++) {
    sam3_image_free(images[i]);
    free(wanted[i]);
  }
  sam3_engine_close(engine);
}

/* A request alone is split over all workers, and so is everything where that is asked for. */
static void workers_answer_together(void **state) {
  static const sam3_schedule schedules[] = {SAM3_SCHEDULE_AUTO, SAM3_SCHEDULE_SPLIT};
  sam3_parallel parallel = *(sam3_parallel *)*state;
  for (int s = 0; s < 2; s++) {
    sam3_engine *engine = open_scheduled(parallel, schedules[s], 2, 0);
    for (int i = 0; i < 2; i++) {
      sam3_image *image = test_image(i);
      struct sam3_results *wanted = session_answer(image);
      struct sam3_request request = request_of(image);
      for (int again = 0; again < 2; again++) {
        sam3_job *job = submit(engine, &request);
        nearly_answers_as(job, wanted);
        assert_string_equal(sam3_job_state(job).device, "cpu:0+cpu:0");
        assert_int_equal(sam3_job_state(job).encoded, again == 0);
        sam3_job_free(job);
      }
      sam3_results_free(wanted);
      sam3_image_free(image);
    }
    assert_int_equal(SUM(engine, images), 4);
    assert_int_equal(SUM(engine, requests), 8);

    /* Many at once: split or not, they are all answered. */
    sam3_image *image = test_image(2);
    struct sam3_results *wanted = session_answer(image);
    sam3_job *jobs[6];
    struct sam3_request request = request_of(image);
    for (int i = 0; i < 6; i++)
      jobs[i] = submit(engine, &request);
    for (int i = 0; i < 6; i++) {
      nearly_answers_as(jobs[i], wanted);
      sam3_job_free(jobs[i]);
    }
    sam3_results_free(wanted);
    sam3_image_free(image);
    sam3_engine_close(engine);
  }
}

/* Whichever allocation fails: an answer or an error, and nobody waits for a rank that did not come (30 s). */
static void a_split_without_memory_ends(void **state) {
  sam3_engine *engine = open_scheduled(*(sam3_parallel *)*state, SAM3_SCHEDULE_SPLIT, 2, 0);
  for (size_t n = 1, asked = 1; asked >= n; n++) {
    struct sam3_request request = request_of(test_image(0)); /* a new one for the engine: it is encoded */
    struct sam3_results *results = NULL;
    sam3_job *job = NULL;
    double begin = clock_seconds();
    mem_fail_at(n, false);
    sam3_status status = sam3_engine_submit(engine, &request, &job, NULL);
    if (status == SAM3_OK)
      status = sam3_job_wait(job, &results, NULL);
    asked = mem_fail_at(0, false);
    bool told = asked >= n && (status == SAM3_ERR_MEMORY || status == SAM3_ERR_DEVICE);
    assert_true((status == SAM3_OK || told) && clock_seconds() - begin < 20);
    sam3_results_free(results);
    sam3_job_free(job);
    sam3_image_free(request.image);
  }
  sam3_engine_close(engine);
}

/* ------------------------------------------------------------------------------------- ends of jobs */

/* Holds a worker in the callback of its job until let go. */
static void stand_at_gate(void *open) {
  while (!*(atomic_bool *)open)
    usleep(1000);
}

/* A job that keeps the engine's only worker busy until `open`. */
static sam3_job *occupy(sam3_engine *engine, sam3_image *image, atomic_bool *open) {
  struct sam3_request request = request_of(image);
  request.changed = stand_at_gate;
  request.user = open;
  sam3_job *job = submit(engine, &request);
  while (sam3_job_state(job).phase != SAM3_RUNNING)
    usleep(1000);
  return job;
}

static void worker_processes_stay_on_their_core(void **state) {
  (void)state;
  sam3_engine *engine = open_engine(SAM3_PARALLEL_PROCESSES, 2, 0);
  for (size_t i = 0; i < 2; i++) {
    cpu_set_t cores;
    assert_int_equal(sched_getaffinity(sam3_engine_worker_stats(engine, i).process, sizeof cores, &cores), 0);
    assert_int_equal(CPU_COUNT(&cores), 1);
    assert_true(CPU_ISSET(0, &cores));
  }
  sam3_engine_close(engine);
}

/* With room for one image, requests on two in turn: each is encoded anew, unless those on one are taken together. */
static void requests_on_an_image_are_taken_together(void **state) {
  static const size_t batches[] = {0, 1, 2, 8};
  static const uint64_t encoded[] = {5, 5, 3, 2};
  for (int b = 0; b < 4; b++) {
    const struct sam3_engine_options options = {.devices = all_devices,
                                                .n_devices = 1,
                                                .parallel = *(sam3_parallel *)*state,
                                                .cache_bytes = 1,
                                                .batch = batches[b],
                                                .worker = program};
    struct sam3_error err;
    sam3_engine *engine;
    must(sam3_engine_open(model_path, &options, &engine, &err), &err);
    sam3_image *images[] = {test_image(0), test_image(1)};
    char *wanted[] = {expected(images[0]), expected(images[1])};
    atomic_bool open = false;
    sam3_job *jobs[5] = {occupy(engine, images[0], &open)};
    for (int i = 1; i < 5; i++) {
      struct sam3_request request = request_of(images[i % 2]);
      jobs[i] = submit(engine, &request);
    }
    open = true;
    for (int i = 0; i < 5; i++) {
      answers_as(jobs[i], wanted[i % 2]);
      sam3_job_free(jobs[i]);
    }
    assert_int_equal(SUM(engine, images), encoded[b]);
    for (int i = 0; i < 2; i++) {
      sam3_image_free(images[i]);
      free(wanted[i]);
    }
    sam3_engine_close(engine);
  }
}

static void jobs_are_cancelled_late_or_refused(void **state) {
  sam3_engine *engine = open_engine(*(sam3_parallel *)*state, 1, 2);
  sam3_image *image = test_image(0);
  char *wanted = expected(image);
  atomic_bool open = false;
  struct sam3_error err;
  sam3_job *first = occupy(engine, image, &open), *refused;
  struct sam3_request request = request_of(image), late = request;
  late.seconds = 0.05;
  sam3_job *queued = submit(engine, &request), *hurried = submit(engine, &late);
  assert_int_equal(sam3_job_state(queued).position, 0);
  assert_int_equal(sam3_job_state(hurried).position, 1);
  assert_int_equal(sam3_engine_submit(engine, &request, &refused, &err), SAM3_ERR_BUSY);
  assert_null(refused);
  assert_int_equal(end_of(hurried), SAM3_ERR_TIMEOUT);
  sam3_job_cancel(queued);
  assert_int_equal(end_of(queued), SAM3_ERR_CANCELLED);
  sam3_job *after = submit(engine, &request);
  sam3_job_cancel(first); /* while it runs */
  open = true;
  assert_int_equal(end_of(first), SAM3_ERR_CANCELLED);
  answers_as(after, wanted);                          /* the worker goes on */
  assert_int_equal(end_of(after), SAM3_ERR_ARGUMENT); /* taken before */
  struct sam3_engine_stats stats = sam3_engine_stats(engine);
  assert_int_equal(stats.accepted, 4);
  assert_int_equal(stats.rejected, 1);
  assert_int_equal(stats.cancelled, 2);
  assert_int_equal(stats.failed, 1);
  assert_int_equal(stats.done, 1);
  sam3_job_free(first);
  sam3_job_free(queued);
  sam3_job_free(hurried);
  sam3_job_free(after);
  sam3_image_free(image);
  free(wanted);
  sam3_engine_close(engine);
}

static void bad_requests_are_refused(void **state) {
  (void)state;
  sam3_engine *engine = open_engine(SAM3_PARALLEL_THREADS, 1, 0);
  sam3_image *image = test_image(0);
  struct sam3_error err;
  sam3_job *job;
  struct sam3_request request = request_of(NULL);
  assert_int_equal(sam3_engine_submit(engine, &request, &job, &err), SAM3_ERR_ARGUMENT);
  request = request_of(image);
  request.threshold = NAN;
  assert_int_equal(sam3_engine_submit(engine, &request, &job, &err), SAM3_ERR_ARGUMENT);
  request = request_of(image);
  const struct sam3_prompt empty = {0};
  request.prompts = &empty;
  request.n_prompts = 1;
  assert_int_equal(sam3_engine_submit(engine, &request, &job, &err), SAM3_ERR_ARGUMENT);
  assert_non_null(strstr(err.message, "neither text nor boxes"));
  sam3_image_free(image);
  sam3_engine_close(engine);
}

static void an_engine_that_cannot_start_says_why(void **state) {
  (void)state;
  static const char *const bad[] = {"cpu:0", "gpu:7"};
  struct sam3_error err;
  sam3_engine *engine;
  struct sam3_engine_options options = {.devices = bad, .n_devices = 2, .worker = program};
  for (int threads = 0; threads < 2; threads++) {
    options.parallel = threads ? SAM3_PARALLEL_THREADS : SAM3_PARALLEL_PROCESSES;
    assert_int_equal(sam3_engine_open(model_path, &options, &engine, &err), SAM3_ERR_DEVICE);
    assert_null(engine);
    assert_non_null(strstr(err.message, "gpu:7"));
  }
  options = (struct sam3_engine_options){.parallel = SAM3_PARALLEL_PROCESSES, .worker = "/bin/false"};
  assert_int_equal(sam3_engine_open(model_path, &options, &engine, &err), SAM3_ERR_DEVICE);
  assert_int_equal(sam3_engine_open("/nonexistent", NULL, &engine, &err), SAM3_ERR_IO);
}

/* ----------------------------------------------------------------------------------------- deaths */

/* Returns when the process is dead, but not yet waited for. */
static void kill_now(int process) {
  siginfo_t info;
  kill(process, SIGKILL);
  waitid(P_PID, (id_t)process, &info, WEXITED | WNOWAIT);
}

/* One that is stopped in the middle of a message is not waited for. */
static void half_a_message(void **state) {
  (void)state;
  static const uint64_t header[] = {WIRE_DONE, 1000};
  for (size_t size = 1; size <= sizeof header; size += sizeof header - 1) {
    struct wire wire = {0};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    wire_limit(ends[0], 0.05);
    assert_int_equal(wire_receive(ends[0], &wire, 0.01, NULL), WIRE_NOTHING);
    assert_int_equal(write(ends[1], header, size), size);
    assert_int_equal(wire_receive(ends[0], &wire, 10, NULL), WIRE_GONE);
    static const char much[1 << 20];
    struct wire to_send = {.kind = WIRE_RUN, .tail = much, .tail_size = sizeof much};
    assert_false(wire_send(ends[0], &to_send, -1));
    close(ends[0]);
    close(ends[1]);
  }
}

/* Kills the worker process that runs the job, `left` times. */
struct killer {
  sam3_engine *engine;
  int left;
  size_t worker;
};

static void kill_runner(void *user) {
  struct killer *killer = user;
  struct sam3_worker_stats stats = sam3_engine_worker_stats(killer->engine, killer->worker);
  if (stats.state == SAM3_WORKER_BUSY && killer->left > 0) {
    killer->left--;
    kill_now(stats.process);
  }
}

static void a_killed_worker_costs_one_retry(void **state) {
  (void)state;
  sam3_engine *engine = open_engine(SAM3_PARALLEL_PROCESSES, 1, 0);
  sam3_image *image = test_image(0);
  char *wanted = expected(image);
  struct killer killer = {engine, 1, 0};
  struct sam3_request request = request_of(image);
  request.changed = kill_runner;
  request.user = &killer;
  sam3_job *job = submit(engine, &request);
  answers_as(job, wanted);
  sam3_job_free(job);
  assert_int_equal(killer.left, 0);
  assert_int_equal(sam3_engine_worker_stats(engine, 0).restarts, 1);

  killer.left = 2; /* one retry, not two */
  job = submit(engine, &request);
  assert_int_equal(end_of(job), SAM3_ERR_DEVICE);
  sam3_job_free(job);

  request = request_of(image);
  job = submit(engine, &request);
  answers_as(job, wanted);
  sam3_job_free(job);

  /* While idle, more often than a worker that fails is started again. */
  for (uint64_t restarts = 3; restarts < 10;) {
    kill_now(sam3_engine_worker_stats(engine, 0).process);
    restarts++;
    for (int i = 0; i < 1000 && (sam3_engine_worker_stats(engine, 0).restarts < restarts ||
                                 sam3_engine_worker_stats(engine, 0).state != SAM3_WORKER_IDLE);
         i++)
      usleep(10000);
    assert_int_equal(sam3_engine_worker_stats(engine, 0).restarts, restarts);
    assert_int_equal(sam3_engine_worker_stats(engine, 0).state, SAM3_WORKER_IDLE);
  }
  free(wanted);
  sam3_image_free(image);
  sam3_engine_close(engine);
}

static void a_worker_that_dies_in_a_loop_is_taken_out(void **state) {
  (void)state;
  sam3_engine *engine = open_engine(SAM3_PARALLEL_PROCESSES, 1, 0);
  sam3_image *image = test_image(0);
  struct killer killer = {engine, 1000, 0};
  struct sam3_request request = request_of(image);
  struct sam3_error err;
  sam3_job *job = NULL;
  request.changed = kill_runner;
  request.user = &killer;
  for (int i = 0; i < 10 && sam3_engine_worker_stats(engine, 0).state != SAM3_WORKER_DEAD; i++) {
    sam3_status status = sam3_engine_submit(engine, &request, &job, &err);
    assert_int_equal(job ? end_of(job) : status, SAM3_ERR_DEVICE);
    sam3_job_free(job);
  }
  assert_int_equal(sam3_engine_worker_stats(engine, 0).state, SAM3_WORKER_DEAD);
  assert_int_equal(sam3_engine_submit(engine, &request, &job, &err), SAM3_ERR_DEVICE);
  assert_non_null(strstr(err.message, "no worker is left"));
  sam3_image_free(image);
  sam3_engine_close(engine);
}

static void a_killed_rank_costs_one_retry(void **state) {
  (void)state;
  for (int victim = 0; victim < 2; victim++) {
    sam3_engine *engine = open_scheduled(SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_SPLIT, 2, 0);
    sam3_image *image = test_image(0);
    struct sam3_results *wanted = session_answer(image);
    struct killer killer = {engine, 1, (size_t)victim};
    struct sam3_request request = request_of(image);
    request.changed = kill_runner;
    request.user = &killer;
    for (int i = 0; i < 2; i++) {
      sam3_job *job = submit(engine, &request);
      nearly_answers_as(job, wanted);
      sam3_job_free(job);
    }
    assert_int_equal(killer.left, 0);
    assert_int_equal(sam3_engine_worker_stats(engine, (size_t)victim).restarts, 1);
    assert_int_equal(sam3_engine_worker_stats(engine, (size_t)!victim).restarts, 0);
    sam3_results_free(wanted);
    sam3_image_free(image);
    sam3_engine_close(engine);
  }
}

/* The others form the split anew without it. */
static void a_rank_that_is_given_up_is_left_out(void **state) {
  (void)state;
  for (size_t victim = 0; victim < 3; victim++) {
    sam3_engine *engine = open_scheduled(SAM3_PARALLEL_PROCESSES, SAM3_SCHEDULE_SPLIT, 3, 0);
    sam3_image *image = test_image(0);
    struct sam3_results *wanted = session_answer(image);
    struct killer killer = {engine, 1000, victim};
    struct sam3_request request = request_of(image);
    request.changed = kill_runner;
    request.user = &killer;
    for (int i = 0; i < 10 && sam3_engine_worker_stats(engine, victim).state != SAM3_WORKER_DEAD; i++) {
      sam3_job *job = submit(engine, &request);
      sam3_status status = end_of(job); /* the last one is answered by the others */
      assert_true(status == SAM3_ERR_DEVICE || status == SAM3_OK);
      sam3_job_free(job);
    }
    assert_int_equal(sam3_engine_worker_stats(engine, victim).state, SAM3_WORKER_DEAD);
    for (int i = 0; i < 2; i++) {
      sam3_job *job = submit(engine, &request);
      nearly_answers_as(job, wanted);
      assert_string_equal(sam3_job_state(job).device, "cpu:0+cpu:0");
      sam3_job_free(job);
    }
    for (size_t i = 0; i < 3; i++)
      assert_int_equal(sam3_engine_worker_stats(engine, i).restarts, i == victim ? 4 : 0);
    sam3_results_free(wanted);
    sam3_image_free(image);
    sam3_engine_close(engine);
  }
}

/* Many callers, and workers killed at random: each request is answered once, rightly or with an error. */
#ifdef __SANITIZE_THREAD__
enum { CALLERS = 4, CALLS = 5 }; /* tens of times slower */
#elif defined(__SANITIZE_ADDRESS__)
enum { CALLERS = 8, CALLS = 25 };
#else
enum { CALLERS = 8, CALLS = 125 };
#endif
static atomic_int callers_left;

struct caller {
  sam3_engine *engine;
  sam3_image *image;
  const struct sam3_results *wanted;
  unsigned random;
  bool exact;     /* no request is split: answers are equal to the bit */
  bool impatient; /* some requests are cancelled, have a deadline, or are not waited for */
  int right, failed, given_up;
  bool wrong;
};

static unsigned next_random(unsigned *random) {
  *random = *random * 1103515245u + 12345u;
  return *random >> 16;
}

static void call_once(struct caller *caller) {
  struct sam3_request request = request_of(caller->image);
  struct sam3_error err;
  struct sam3_results *results = NULL;
  sam3_job *job;
  unsigned mood = caller->impatient ? next_random(&caller->random) % 8 : 8;
  request.seconds = mood == 0 ? 0.02 : 0;
  sam3_status status = sam3_engine_submit(caller->engine, &request, &job, &err);
  if (status == SAM3_OK && (mood == 1 || mood == 2))
    usleep(next_random(&caller->random) % 30000);
  if (status == SAM3_OK && mood == 1)
    sam3_job_cancel(job);
  if (status == SAM3_OK && mood != 2)
    status = sam3_job_wait(job, &results, &err);
  if (results) {
    caller->wrong |= !same_results(results, caller->wanted, caller->exact);
    caller->right++;
  } else if (mood == 2 || (mood == 0 && status == SAM3_ERR_TIMEOUT) || (mood == 1 && status == SAM3_ERR_CANCELLED)) {
    caller->given_up++;
  } else {
    caller->wrong |= status != SAM3_ERR_DEVICE;
    caller->failed++;
  }
  sam3_results_free(results);
  sam3_job_free(job);
}

static void *call_often(void *arg) {
  struct caller *caller = arg;
  for (int i = 0; i < CALLS; i++)
    call_once(caller);
  callers_left--;
  return NULL;
}

/* Returns when all have called so often; kills workers meanwhile. */
static void call_and_kill(sam3_engine *engine, struct caller callers[CALLERS]) {
  pthread_t threads[CALLERS];
  callers_left = CALLERS;
  for (int i = 0; i < CALLERS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
  /* Each has answered something before it is killed again: one that never does is rightly given up. */
  uint64_t answered[2] = {0};
  for (unsigned random = 1; callers_left; usleep(50000 + next_random(&random) % 100000)) {
    size_t victim = next_random(&random) & 1;
    struct sam3_worker_stats stats = sam3_engine_worker_stats(engine, victim);
    if (stats.requests > answered[victim])
      kill(stats.process, SIGKILL);
    answered[victim] = stats.requests;
  }
  for (int i = 0; i < CALLERS; i++)
    pthread_join(threads[i], NULL);
}

static void survive_random_kills(sam3_schedule schedule, bool impatient) {
  sam3_engine *engine = open_scheduled(SAM3_PARALLEL_PROCESSES, schedule, 2, 0);
  struct caller callers[CALLERS];
  struct sam3_results *wanted[CALLERS];
  int right = 0, failed = 0, given_up = 0;
  for (int i = 0; i < CALLERS; i++) {
    sam3_image *image = test_image(i % 3);
    wanted[i] = session_answer(image);
    callers[i] = (struct caller){.engine = engine,
                                 .image = image,
                                 .wanted = wanted[i],
                                 .random = (unsigned)i,
                                 .exact = schedule == SAM3_SCHEDULE_REPLICATE,
                                 .impatient = impatient};
  }
  call_and_kill(engine, callers);
  for (int i = 0; i < CALLERS; i++) {
    right += callers[i].right;
    failed += callers[i].failed;
    given_up += callers[i].given_up;
    assert_false(callers[i].wrong);
    sam3_image_free(callers[i].image);
    sam3_results_free(wanted[i]);
  }
  assert_int_equal(right + failed + given_up, CALLERS * CALLS);
  assert_true(right > failed);
  assert_int_equal(given_up > 0, impatient);
  struct sam3_engine_stats stats = sam3_engine_stats(engine);
  assert_int_equal(stats.accepted, stats.done + stats.failed + stats.cancelled + stats.running + stats.queued);
  sam3_engine_close(engine);
}

static void requests_survive_random_kills(void **state) {
  (void)state;
  survive_random_kills(SAM3_SCHEDULE_REPLICATE, false);
}

/* The same where workers also do requests together, and callers cancel, have no time, or go away. */
static void impatient_callers_and_random_kills(void **state) {
  (void)state;
  survive_random_kills(SAM3_SCHEDULE_AUTO, true);
}

/* ------------------------------------------------------------------------------------------- main */

static void link_model(const char *fixtures, const char *models) {
  char from[1000], to[100];
  strcpy(model_path, "/tmp/sam3-workers-XXXXXX");
  if (!mkdtemp(model_path))
    exit(1);
  snprintf(from, sizeof from, "%s/ash/config.json", fixtures);
  snprintf(to, sizeof to, "%s/config.json", model_path);
  int problem = symlink(from, to);
  snprintf(from, sizeof from, "%s/ash.safetensors", models);
  snprintf(to, sizeof to, "%s/model.safetensors", model_path);
  if (problem || symlink(from, to))
    exit(1);
}

static void unlink_model(void) {
  static const char *const names[] = {"config.json", "model.safetensors"};
  char path[100];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", model_path, names[i]);
    unlink(path);
  }
  rmdir(model_path);
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  program = argv[3];
  link_model(argv[1], argv[2]);
  static sam3_parallel threads = SAM3_PARALLEL_THREADS, processes = SAM3_PARALLEL_PROCESSES;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(clients_take_turns),
      cmocka_unit_test(leaving_moves_no_turns),
      cmocka_unit_test_prestate(answers_are_those_of_a_session, &threads),
      cmocka_unit_test_prestate(answers_are_those_of_a_session, &processes),
      cmocka_unit_test_prestate(workers_answer_together, &threads),
      cmocka_unit_test_prestate(workers_answer_together, &processes),
      cmocka_unit_test_prestate(a_split_without_memory_ends, &threads),
      cmocka_unit_test_prestate(a_split_without_memory_ends, &processes),
      cmocka_unit_test(worker_processes_stay_on_their_core),
      cmocka_unit_test_prestate(requests_on_an_image_are_taken_together, &threads),
      cmocka_unit_test_prestate(requests_on_an_image_are_taken_together, &processes),
      cmocka_unit_test_prestate(jobs_are_cancelled_late_or_refused, &threads),
      cmocka_unit_test_prestate(jobs_are_cancelled_late_or_refused, &processes),
      cmocka_unit_test(bad_requests_are_refused),
      cmocka_unit_test(an_engine_that_cannot_start_says_why),
      cmocka_unit_test(half_a_message),
      cmocka_unit_test(a_killed_worker_costs_one_retry),
      cmocka_unit_test(a_worker_that_dies_in_a_loop_is_taken_out),
      cmocka_unit_test(a_killed_rank_costs_one_retry),
      cmocka_unit_test(a_rank_that_is_given_up_is_left_out),
      cmocka_unit_test(requests_survive_random_kills),
      cmocka_unit_test(impatient_callers_and_random_kills),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink_model();
  return failed;
}
