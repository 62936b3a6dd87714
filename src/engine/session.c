#include "engine/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

size_t features_layout(const struct config *config, struct image_features *tensors, void *block) {
  struct arena arena = block ? (struct arena){.base = block, .size = SIZE_MAX / 4} : arena_dry();
  struct run r = {.arena = &arena};
  int64_t cells = (int64_t)config->vision.grid * config->vision.grid, dim = config->dim;
  *tensors =
      (struct image_features){.levels = {take(&r, 16 * cells, dim), take(&r, 4 * cells, dim), take(&r, cells, dim)},
                              .fused = take(&r, cells, dim),
                              .cls = take(&r, 1, dim)};
  return arena.used;
}

struct run session_run(sam3_session *session, const struct observer *observer) {
  return (struct run){.dev = session->dev,
                      .ops = session->dev->ops,
                      .arena = &session->arena,
                      .net = &session->model->network,
                      .plan = &session->plan,
                      .observer = observer,
                      .group = session->group,
                      .shared = &session->shared};
}

void session_rehearse(struct run *r, struct image_features *image, struct tensor texts) {
  static const struct geometry_box box = {0.5f, 0.5f, 0.5f, 0.5f, true};
  const struct config *c = &r->net->config;
  struct geometry_box boxes[MAX_BOXES];
  int32_t ids[TEXT_BATCH * CONFIG_MAX_CONTEXT] = {0};
  int lengths[TEXT_BATCH];
  for (int i = 0; i < MAX_BOXES; i++)
    boxes[i] = box;
  for (int i = 0; i < TEXT_BATCH; i++)
    lengths[i] = c->text.context;
  struct model_prompt prompt = {texts, ids, c->text.context, boxes, MAX_BOXES};
  struct model_answer answer;

  model_encode(r, image, NULL);
  encode_text(r, rows_of(texts, 0, (int64_t)TEXT_BATCH * c->text.context), ids, lengths, TEXT_BATCH);
  struct run_mark mark = mark_run(r);
  model_answer(r, &answer, image, &prompt);
  struct tensor pixels = take_shared(r, image->levels[0].rows, c->dim);
  pixel_embeddings(r, pixels, image, answer.memory, answer.tokens);
  struct mask_batch batch = mask_batch_take(r);
  mask_logits(r, batch.logits, batch.offsets, batch.queries, pixels);
  release_run(r, mark);
}

/* Rehearses on a device that computes nothing. */
sam3_status session_measure(sam3_session *s, struct group *group, size_t *own, size_t *shared, struct sam3_error *err) {
  struct dry_device dry;
  struct arena arena = arena_dry(), common = arena_dry();
  struct image_features image;
  const struct config *c = &s->model->network.config;
  device_dry_init(&dry);
  features_layout(c, &image, NULL);
  struct run r = session_run(s, NULL);
  r.dev = &dry.device;
  r.ops = dry.device.ops;
  r.arena = &arena;
  r.group = group;
  r.shared = &common;
  struct tensor texts = {image.cls.data, SAM3_F32, (int64_t)TEXT_SLOTS * c->text.context, c->dim, c->dim};
  session_rehearse(&r, &image, texts);
  *own = arena.peak;
  *shared = common.peak;
  return r.ops->sync(r.dev, err);
}

static sam3_status open_session(sam3_session *s, const struct sam3_session_options *options, struct sam3_error *err) {
  const struct config *c = &s->model->network.config;
  size_t arena_size = 0, shared = 0, text_rows = (size_t)TEXT_SLOTS * (size_t)c->text.context;
  size_t cells = 16 * (size_t)c->vision.grid * (size_t)c->vision.grid;
  TRY(device_open(options && options->device ? options->device : "cpu", options ? options->dtype : SAM3_F32, &s->dev,
                  err));
  TRY(plan_create(&s->plan, &s->model->network, s->dev, err));
  TRY(session_measure(s, NULL, &arena_size, &shared, err));
  size_t text_size = text_rows * (size_t)c->dim * sizeof(float);
  s->arena = (struct arena){.base = s->dev->ops->alloc(s->dev, arena_size), .size = arena_size};
  s->text_features =
      (struct tensor){s->dev->ops->alloc(s->dev, text_size), SAM3_F32, (int64_t)text_rows, c->dim, c->dim};
  if (!s->arena.base || !s->text_features.data)
    return fail(err, SAM3_ERR_MEMORY, "device %s has no memory for activations of %zu MB", s->dev->name,
                (arena_size + text_size) >> 20);
  s->pixels = mem_zeroed((size_t)c->vision.image * (size_t)c->vision.image, 3);
  s->masks = mem_zeroed(MASK_BATCH * cells, sizeof *s->masks);
  s->answers = mem_zeroed((size_t)c->queries, 5 * sizeof *s->answers);
  return s->pixels && s->masks && s->answers ? SAM3_OK : fail_memory(err, MASK_BATCH * cells * sizeof(float), "masks");
}

sam3_status sam3_session_open(sam3_model *model, const struct sam3_session_options *options, sam3_session **session,
                              struct sam3_error *err) {
  sam3_session *s = *session = mem_zeroed(1, sizeof *s);
  if (!s)
    return fail_memory(err, sizeof *s, "a session");
  s->model = model;
  sam3_status status = open_session(s, options, err);
  if (status != SAM3_OK) {
    sam3_session_close(s);
    *session = NULL;
  }
  return status;
}

struct sam3_memory sam3_session_memory(const sam3_session *s) {
  const struct config *c = &s->model->network.config;
  struct image_features image;
  uint64_t cells = 16 * (uint64_t)c->vision.grid * (uint64_t)c->vision.grid;
  uint64_t host = (uint64_t)c->vision.image * (uint64_t)c->vision.image * 3 + MASK_BATCH * cells * sizeof(float);
  uint64_t texts = (uint64_t)(s->text_features.rows * s->text_features.cols) * sizeof(float);
  return (struct sam3_memory){.weights = s->model->weights ? weights_used_bytes(s->model->weights) : 0,
                              .prepared = s->plan.bytes,
                              .activations = s->arena.size,
                              .workspace = s->dev->workspace + host + texts,
                              .features = features_layout(c, &image, NULL)};
}

void sam3_session_on_progress(sam3_session *session, bool (*callback)(void *user, const char *stage, double fraction),
                              void *user) {
  session->progress = callback;
  session->user = user;
}

void sam3_session_close(sam3_session *s) {
  if (!s)
    return;
  if (s->dev) {
    plan_free(&s->plan, s->dev);
    s->dev->ops->free(s->dev, s->arena.base, s->arena.size);
    s->dev->ops->free(s->dev, s->text_features.data,
                      (size_t)(s->text_features.rows * s->text_features.cols) * sizeof(float));
    device_close(s->dev);
  }
  free(s->pixels);
  free(s->masks);
  free(s->answers);
  free(s);
}
