/* Everything that the public API is for, in one page: example MODEL IMAGE TEXT...
 *
 *     cc example.c $(pkg-config --cflags --libs libsam3) -o example
 *
 * Prints a line for each instance and draws them all into overlay.png. */
#include <stdio.h>
#include <stdlib.h>

#include <sam3.h>

struct job {
  sam3_model *model;
  sam3_session *session;
  sam3_image *image;
  sam3_features *features;
  struct sam3_results *results;
};

static sam3_status run(struct job *job, const char *model, const char *image, struct sam3_prompt *prompts, size_t n,
                       struct sam3_error *err) {
  sam3_status status;
  /* Opening maps the file; the session takes threads and memory. Both are made once and used for many images. */
  if ((status = sam3_model_open(model, &job->model, err)) != SAM3_OK ||
      (status = sam3_session_open(job->model, NULL, &job->session, err)) != SAM3_OK ||
      (status = sam3_features_create(job->session, &job->features, err)) != SAM3_OK)
    return status;
  /* An image is encoded once (the slow part), and then asked about as often as you like. */
  if ((status = sam3_image_read(image, 0, &job->image, err)) != SAM3_OK ||
      (status = sam3_encode(job->session, job->image, job->features, err)) != SAM3_OK ||
      (status = sam3_segment(job->session, job->features, prompts, n, NULL, &job->results, err)) != SAM3_OK)
    return status;
  return sam3_results_overlay(job->results, job->image, "overlay.png", err);
}

static void print(const struct sam3_results *results) {
  for (size_t i = 0; i < results->n_items; i++) {
    const struct sam3_result *result = &results->items[i];
    for (size_t j = 0; j < result->n_detections; j++) {
      const struct sam3_detection *d = &result->detections[j];
      printf("%s %.3f box %.0f,%.0f,%.0f,%.0f, %llu pixels\n", result->text, d->score, d->box[0], d->box[1], d->box[2],
             d->box[3], (unsigned long long)d->area);
    }
  }
}

int main(int argc, char **argv) {
  struct sam3_error err;
  struct job job = {0};
  if (argc < 4) {
    fprintf(stderr, "usage: example MODEL IMAGE TEXT...\n");
    return 2;
  }
  size_t n = (size_t)argc - 3;
  struct sam3_prompt *prompts = calloc(n, sizeof *prompts);
  if (!prompts)
    return 1;
  for (size_t i = 0; i < n; i++)
    prompts[i].text = argv[3 + i];

  sam3_status status = run(&job, argv[1], argv[2], prompts, n, &err);
  if (status == SAM3_OK)
    print(job.results);
  else
    fprintf(stderr, "%s\n", err.message);

  /* All of these take NULL. A session goes before its model. */
  sam3_results_free(job.results);
  sam3_image_free(job.image);
  sam3_features_free(job.features);
  sam3_session_close(job.session);
  sam3_model_close(job.model);
  free(prompts);
  return status == SAM3_OK ? 0 : 1;
}
