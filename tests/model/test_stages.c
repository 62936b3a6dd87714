/* Runs the network on small random models and compares every stage with what Meta's code computes.
 *
 *   test_stages FIXTURES MODELS [DEVICE...]      MODELS/<preset>.safetensors; devices: cpu and ref */
#include "fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/model.h"

/* Of each stage's largest magnitude. */
#define TOLERANCE 3e-5

#define ARENA_BYTES ((size_t)256 << 20)

static const char *const presets[] = {"ash", "birch", "cedar", "dogwood", "elm"};
static const char *const cases[] = {"text", "boxes", "visual"};
static const char *fixtures, *models;

/* One model on one device, ready to run. */
struct setup {
  struct config config;
  struct weights *weights;
  struct network net;
  struct device *dev;
  struct plan plan;
  struct arena arena;
};

/* What a test is told. */
struct job {
  const char *preset, *device;
};

static void must(sam3_status status, const struct sam3_error *err) {
  if (status != SAM3_OK)
    fail_msg("%s: %s", sam3_status_name(status), err->message);
}

static void set_up(struct setup *s, const struct job *job) {
  struct sam3_error err;
  char path[600];
  memset(s, 0, sizeof *s);
  snprintf(path, sizeof path, "%s/%s/config.json", fixtures, job->preset);
  must(config_read(path, &s->config, &err), &err);
  snprintf(path, sizeof path, "%s/%s.safetensors", models, job->preset);
  must(weights_open(path, &s->weights, &err), &err);
  must(network_load(&s->net, &s->config, s->weights, 0, &err), &err);
  must(device_open(job->device, SAM3_F32, &s->dev, &err), &err);
  must(plan_create(&s->plan, &s->net, s->dev, &err), &err);
  s->arena = (struct arena){.base = s->dev->ops->alloc(s->dev, ARENA_BYTES), .size = ARENA_BYTES};
  assert_non_null(s->arena.base);
}

static void tear_down(struct setup *s) {
  s->dev->ops->free(s->dev, s->arena.base, s->arena.size);
  plan_free(&s->plan, s->dev);
  device_close(s->dev);
  network_free(&s->net);
  weights_close(s->weights);
}

static void see(void *user, const char *stage, struct tensor value, const int32_t *order) {
  struct fixture *f = user;
  /* An image is encoded together with the geometry tokens of prompts that have no boxes. */
  if (!strcmp(stage, "geometry") && value.rows != f->n_boxes + 1)
    return;
  fixture_compare(f, stage, value, order, TOLERANCE);
}

static struct image_features encode(struct run *r, const struct fixture *f) {
  const struct config *c = &r->net->config;
  int64_t cells = (int64_t)c->vision.grid * c->vision.grid;
  struct image_features image = {.fused = take(r, cells, c->dim), .cls = take(r, 1, c->dim)};
  for (int i = 0; i < NECK_LEVELS; i++)
    image.levels[i] = take(r, cells << (2 * (NECK_LEVELS - 1 - i)), c->dim);
  model_encode(r, &image, f->pixels);
  return image;
}

static struct model_answer answer(struct run *r, struct fixture *f, const struct image_features *image) {
  struct geometry_box boxes[FIXTURE_MAX_BOXES];
  int32_t rows[FIXTURE_MAX_TOKENS];
  struct model_prompt prompt = {
      .texts = take(r, f->n_tokens, r->net->config.dim), .text_rows = rows, .boxes = boxes, .n_boxes = f->n_boxes};
  for (int i = 0; i < f->n_tokens; i++)
    if (f->tokens[i] != 0) /* masked, as padding */
      rows[prompt.n_text++] = i;
  for (int i = 0; i < f->n_boxes; i++) {
    const struct fixture_box *b = &f->boxes[i];
    float w = (float)f->width, h = (float)f->height;
    boxes[i] = (struct geometry_box){(b->x0 / w + b->x1 / w) / 2, (b->y0 / h + b->y1 / h) / 2, b->x1 / w - b->x0 / w,
                                     b->y1 / h - b->y0 / h, b->positive};
  }
  encode_text(r, prompt.texts, f->tokens, &f->n_tokens, 1);
  see(f, "text", prompt.texts, NULL);
  struct model_answer out;
  model_answer(r, &out, image, &prompt);
  return out;
}

static void compare_answer(struct run *r, struct fixture *f, const struct model_answer *out) {
  const struct config *c = &r->net->config;
  struct tensor boxes = take(r, c->queries, 4);
  float *logits = out->logits.data, *corners = boxes.data;
  for (int q = 0; q < c->queries; q++) {
    const float *b = (const float *)out->decoded.boxes.data + 4 * q;
    for (int i = 0; i < 4; i++)
      corners[4 * q + i] = b[i % 2] + (i < 2 ? -0.5f : 0.5f) * b[2 + i % 2];
    logits[q] = fminf(fmaxf(logits[q] / sqrtf((float)c->dim), -12), 12);
  }
  see(f, "logits", out->logits, NULL);
  see(f, "boxes", boxes, NULL);
}

static void compare_masks(struct run *r, struct fixture *f, const struct image_features *image,
                          const struct model_answer *out) {
  const struct config *c = &r->net->config;
  int64_t cells = image->levels[0].rows;
  struct tensor pixels = take(r, cells, c->dim), offset = take(r, c->queries, 1), masks = take(r, c->queries, cells);
  pixel_embeddings(r, pixels, image, out->memory, out->tokens);
  see(f, "mask.pixels", pixels, NULL);
  mask_logits(r, masks, offset, out->decoded.queries, pixels);
  for (int64_t q = 0; q < masks.rows; q++)
    for (int64_t i = 0; i < cells; i++)
      ((float *)masks.data)[q * masks.stride + i] += ((float *)offset.data)[q * offset.stride];
  see(f, "masks", masks, NULL);
}

static void test_stages(void **state) {
  const struct job *job = *state;
  struct setup s;
  struct sam3_error err;
  set_up(&s, job);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct fixture f;
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s.txt", fixtures, job->preset, cases[i]);
    fixture_read(&f, path);
    assert_int_equal(f.size, s.config.vision.image);
    struct observer observer = {.probe = see, .user = &f};
    struct run r = {
        .dev = s.dev, .ops = s.dev->ops, .arena = &s.arena, .net = &s.net, .plan = &s.plan, .observer = &observer};
    struct image_features image = encode(&r, &f);
    struct model_answer out = answer(&r, &f, &image);
    compare_answer(&r, &f, &out);
    compare_masks(&r, &f, &image, &out);
    must(s.dev->ops->sync(s.dev, &err), &err);
    print_message("%s %s %s: %d stages, the largest difference %.1e in %s\n", job->device, job->preset, cases[i],
                  f.n_stages, f.worst, f.worst_stage);
    fixture_finish(&f);
    fixture_free(&f);
    arena_release(&s.arena, 0);
  }
  tear_down(&s);
}

int main(int argc, char **argv) {
  static const char *const all_devices[] = {"cpu", "ref"};
  if (argc < 3)
    return fprintf(stderr, "usage: %s FIXTURES MODELS [DEVICE...]\n", argv[0]), 2;
  fixtures = argv[1];
  models = argv[2];
  const char *const *devices = argc > 3 ? (const char *const *)argv + 3 : all_devices;
  int n_devices = argc > 3 ? argc - 3 : 2, n = 0;
  struct job jobs[64];
  struct CMUnitTest tests[64];
  for (int d = 0; d < n_devices; d++)
    for (size_t p = 0; p < sizeof presets / sizeof *presets && n < 64; p++, n++) {
      jobs[n] = (struct job){presets[p], devices[d]};
      tests[n] = (struct CMUnitTest){.name = presets[p], .test_func = test_stages, .initial_state = &jobs[n]};
    }
  return _cmocka_run_group_tests("stages", tests, (size_t)n, NULL, NULL);
}
