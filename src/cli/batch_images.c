/* The images of a batch, one by one. */
#include <stdlib.h>
#include <string.h>

#include "cli/batch.h"

static bool next_image(void *user, struct pipeline_item *item) {
  struct batch *run = user;
  struct journal_image *image = need(calloc(1, sizeof *image));
  if (!journal_next(run->journal, image)) {
    free(image);
    return false;
  }
  item->data = image;
  item->path = make_text("%s/%s", strcmp(run->inputs.root, "/") ? run->inputs.root : "", image->name);
  return true;
}

static bool any_worker(sam3_engine *engine) {
  for (size_t i = 0; i < sam3_engine_stats(engine).n_workers; i++)
    if (sam3_engine_worker_stats(engine, i).state != SAM3_WORKER_DEAD)
      return true;
  return false;
}

/* The image's own failure goes into the journal. */
static bool note_failure(struct batch *run, const struct pipeline_item *item, const struct journal_image *image) {
  if (item->err.status == SAM3_ERR_CANCELLED)
    return true;
  if (item->err.status == SAM3_ERR_DEVICE && !any_worker(run->engine)) {
    pthread_mutex_lock(&run->lock);
    bool first = !run->broken;
    run->broken = true;
    pthread_mutex_unlock(&run->lock);
    if (first)
      complain("%s", item->err.message);
    return false;
  }
  /* The table has a column for names. */
  const char *message = item->err.message;
  size_t length = strlen(item->path);
  if (strncmp(message, item->path, length) == 0 && strncmp(message + length, ": ", 2) == 0)
    message += length + 2;
  if ((image->again && !tree_remove(&run->tree, image->output)) || !journal_failed(run->journal, image->name, message))
    return false;
  pthread_mutex_lock(&run->lock);
  run->failed++;
  pthread_mutex_unlock(&run->lock);
  return true;
}

static bool note_results(struct batch *run, const struct pipeline_item *item, const struct journal_image *image) {
  const char *model = sam3_model_name(sam3_engine_model(run->engine));
  char *document;
  if ((image->again && !tree_remove(&run->tree, image->output)) ||
      !tree_write(&run->tree, item->index, image->output, image->name, model, item->results, item->image, &document))
    return false;
  bool good = journal_done(run->journal, image->name, document);
  free(document);
  pthread_mutex_lock(&run->lock);
  run->done += good;
  pthread_mutex_unlock(&run->lock);
  return good;
}

static bool image_done(void *user, struct pipeline_item *item) {
  struct batch *run = user;
  struct journal_image *image = item->data;
  bool good = item->err.status == SAM3_OK ? note_results(run, item, image) : note_failure(run, item, image);
  if (!good) {
    pthread_mutex_lock(&run->lock);
    run->broken = true;
    pthread_mutex_unlock(&run->lock);
  }
  free((char *)item->path);
  journal_image_free(image);
  free(image);
  return good;
}

static void show_progress(void *user, const struct pipeline_item *oldest, const struct sam3_job_state *state) {
  struct batch *run = user;
  (void)oldest, (void)state;
  pthread_mutex_lock(&run->lock);
  size_t now = run->done + run->failed, ready = now + run->before.done + run->before.failed, failed_now = run->failed;
  pthread_mutex_unlock(&run->lock);
  double rate = (double)now / (seconds_now() - run->start);
  char label[64], text[100] = "";
  snprintf(label, sizeof label, "%zu/%zu", ready, run->before.all);
  if (now) {
    long left = (long)((double)(run->before.all - ready) / rate);
    int length = snprintf(text, sizeof text, "%.*f images/s, %ld:%02ld:%02ld left", rate < 9.95 ? 2 : 0, rate,
                          left / 3600, left / 60 % 60, left % 60);
    if (failed_now)
      snprintf(text + length, sizeof text - (size_t)length, ", %zu failed", failed_now);
  }
  progress_show(label, text, (double)ready / (double)run->before.all);
}

static void interrupted(void *user, int number) {
  struct batch *run = user;
  run->signal = number;
}

int batch_images(struct batch *run, const char *model) {
  if (run->before.done + run->before.failed == run->before.all && run->engine_flags.launch.size <= 1)
    return EXIT_DONE; /* nothing is left to do; a launcher's other ranks must learn it from an engine */
  int code = open_engine(model, &run->model, &run->engine_flags, &run->engine);
  if (code != EXIT_DONE)
    return code;
  size_t n_devices = sam3_engine_stats(run->engine).n_workers;
  const struct pipeline pipeline = {.engine = run->engine,
                                    .prompts = &run->prompts,
                                    .max_pixels = run->max_pixels,
                                    .threads = run->workers ? run->workers : n_devices + 1,
                                    .user = run,
                                    .next = next_image,
                                    .done = image_done,
                                    .tick = show_progress,
                                    .interrupted = interrupted};
  run->start = seconds_now();
  pipeline_run(&pipeline);
  return run->broken ? EXIT_FAILED : EXIT_DONE;
}
