/* Prompts on an encoded image. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/session.h"
#include "engine/task.h"
#include "image/mask.h"

/* What a box prompt without text is called, as in the original. */
#define BOX_TEXT "visual"

/* One call of sam3_segment. */
struct call {
  sam3_session *session;
  const sam3_features *features;
  float threshold;
  struct sam3_error *err;
};

static sam3_status check_arguments(const struct call *call, const struct sam3_prompt *prompts, size_t n) {
  const sam3_features *f = call->features;
  if (f->session != call->session)
    return fail(call->err, SAM3_ERR_ARGUMENT, "the features belong to another session");
  if (!f->width)
    return fail(call->err, SAM3_ERR_ARGUMENT, "no image is encoded in the features");
  return prompts_check(prompts, n, call->threshold, f->width, f->height, call->err);
}

/* ------------------------------------------------------------------------------------------ texts */

struct tokens {
  int32_t ids[CONFIG_MAX_CONTEXT];
  int count;
};

static sam3_status tokenize(const struct call *call, size_t prompt, const char *text, struct tokens *out) {
  const sam3_model *model = call->session->model;
  const struct config_text *c = &model->network.config.text;
  TRY(tokenizer_encode(model->tokenizer, text, strlen(text), c->context, out->ids, &out->count, call->err));
  for (int i = 0; i < out->count; i++)
    if (out->ids[i] >= c->vocab)
      return fail(call->err, SAM3_ERR_ARGUMENT, "prompt %zu, \"%s\": token %d is beyond the model's vocabulary of %d",
                  prompt, text, (int)out->ids[i], c->vocab);
  return SAM3_OK;
}

/* The slot that holds the text, or -1. */
static int find_text(const sam3_session *s, const struct tokens *t) {
  for (int i = 0; i < TEXT_SLOTS; i++)
    if (s->texts[i].count == t->count && memcmp(s->texts[i].ids, t->ids, (size_t)t->count * sizeof *t->ids) == 0)
      return i;
  return -1;
}

static int oldest_text(const sam3_session *s) {
  int oldest = 0;
  for (int i = 1; i < TEXT_SLOTS; i++)
    if (s->texts[i].last_used < s->texts[oldest].last_used)
      oldest = i;
  return oldest;
}

/* Encodes those of n <= TEXT_BATCH texts that no slot holds, together; slots[i] is the slot of text i. */
static sam3_status encode_texts(struct run *r, sam3_session *s, const struct tokens *texts, int n, int *slots,
                                struct sam3_error *err) {
  int context = s->model->network.config.text.context, lengths[TEXT_BATCH], fresh[TEXT_BATCH], n_fresh = 0, rows = 0;
  int32_t ids[TEXT_BATCH * CONFIG_MAX_CONTEXT];
  for (int i = 0; i < n; i++) {
    slots[i] = find_text(s, &texts[i]);
    if (slots[i] < 0) {
      struct text_slot *slot = &s->texts[slots[i] = oldest_text(s)];
      memcpy(slot->ids, texts[i].ids, sizeof slot->ids);
      slot->count = texts[i].count;
      memcpy(ids + rows, texts[i].ids, (size_t)texts[i].count * sizeof *ids);
      rows += lengths[n_fresh] = texts[i].count;
      fresh[n_fresh++] = slots[i];
    }
    s->texts[slots[i]].last_used = ++s->clock;
  }
  if (!n_fresh)
    return SAM3_OK;
  size_t mark = arena_mark(r->arena);
  struct tensor y = take(r, rows, s->text_features.cols);
  encode_text(r, y, ids, lengths, n_fresh);
  for (int i = 0, first = 0; i < n_fresh; first += lengths[i++])
    r->ops->copy(r->dev, rows_of(s->text_features, (int64_t)fresh[i] * context, lengths[i]),
                 rows_of(y, first, lengths[i]));
  arena_release(r->arena, mark);
  sam3_status status = r->ops->sync(r->dev, err);
  for (int i = 0; (status != SAM3_OK || r->cancelled) && i < n_fresh; i++)
    s->texts[fresh[i]].count = 0;
  return status;
}

/* ---------------------------------------------------------------------------------------- answers */

static float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

/* A query that is kept. */
struct kept {
  int query;
  float score;
};

static int by_falling_score(const void *a, const void *b) {
  const struct kept *x = a, *y = b;
  return x->score > y->score ? -1 : x->score < y->score ? 1 : x->query - y->query;
}

/* Takes the detections above the threshold into `result`, without masks. */
static sam3_status keep_detections(const struct call *call, struct sam3_result *result, const float *logits,
                                   const float *boxes, float presence) {
  const struct config *c = &call->session->model->network.config;
  const float scale = 1.0f / sqrtf((float)c->dim), w = (float)call->features->width, h = (float)call->features->height;
  struct kept *kept = mem_zeroed((size_t)c->queries, sizeof *kept);
  size_t n = 0;
  if (!kept)
    return fail_memory(call->err, (size_t)c->queries * sizeof *kept, "the detections");
  result->presence = sigmoid(presence);
  for (int q = 0; q < c->queries; q++) {
    float score = sigmoid(fminf(fmaxf(logits[q] * scale, -12), 12)) * result->presence;
    if (score > call->threshold)
      kept[n++] = (struct kept){q, score};
  }
  qsort(kept, n, sizeof *kept, by_falling_score);
  result->detections = mem_zeroed(n, sizeof *result->detections);
  for (size_t i = 0; result->detections && i < n; i++) {
    const float *box = boxes + 4 * kept[i].query;
    result->detections[i] =
        (struct sam3_detection){.query = kept[i].query,
                                .score = kept[i].score,
                                .box = {(box[0] - 0.5f * box[2]) * w, (box[1] - 0.5f * box[3]) * h,
                                        (box[0] + 0.5f * box[2]) * w, (box[1] + 0.5f * box[3]) * h}};
    result->n_detections = i + 1;
  }
  free(kept);
  return result->detections ? SAM3_OK : fail_memory(call->err, n * sizeof *result->detections, "the detections");
}

/* Damaged weights must not look like an image in which nothing was found. */
static sam3_status check_finite(const struct call *call, const float *values, size_t n, const char *what) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(values[i]))
      return fail(call->err, SAM3_ERR_DEVICE, "the model's %s are not finite numbers: are its weights damaged?", what);
  return SAM3_OK;
}

struct mask_batch mask_batch_take(struct run *r) {
  const struct config *c = &r->net->config;
  int64_t pixels = (int64_t)16 * c->vision.grid * c->vision.grid;
  return (struct mask_batch){take(r, MASK_BATCH, c->dim), take(r, MASK_BATCH, 1), take_shared(r, MASK_BATCH, pixels)};
}

/* The masks of n <= MASK_BATCH detections. In a split each rank computes its pixels, and rank 0 takes them all. */
static sam3_status segment_batch(struct run *r, const struct call *call, struct tensor pixels, struct tensor queries,
                                 struct sam3_detection *detections, int n) {
  sam3_session *s = call->session;
  int side = 4 * r->net->config.vision.grid;
  size_t cells = (size_t)side * (size_t)side;
  struct run_mark mark = mark_run(r);
  struct mask_batch batch = mask_batch_take(r);
  int32_t *rows = arena_take(r->arena, sizeof(int32_t[MASK_BATCH])), host_rows[MASK_BATCH];
  float offsets[MASK_BATCH];
  for (int i = 0; i < n; i++)
    host_rows[i] = detections[i].query;
  batch.queries.rows = batch.offsets.rows = batch.logits.rows = n;
  r->ops->upload(r->dev, rows, host_rows, (size_t)n * sizeof *rows);
  r->ops->gather_rows(r->dev, batch.queries, queries, rows, NULL);
  mask_logits(r, batch.logits, batch.offsets, batch.queries, pixels);
  if (is_first(r)) {
    r->ops->download(r->dev, offsets, batch.offsets.data, (size_t)n * sizeof *offsets);
    r->ops->download(r->dev, s->masks, batch.logits.data, (size_t)n * cells * sizeof *s->masks);
  }
  release_run(r, mark);
  TRY(r->ops->sync(r->dev, call->err));
  if (!is_first(r) || r->cancelled)
    return SAM3_OK;
  for (int i = 0; i < n; i++) {
    float *logits = s->masks + (size_t)i * cells;
    for (size_t p = 0; p < cells; p++)
      logits[p] += offsets[i];
    TRY(check_finite(call, logits, cells, "masks"));
    TRY(mask_from_logits(logits, side, side, call->features->height, call->features->width, &detections[i].mask,
                         &detections[i].area, call->err));
  }
  return SAM3_OK;
}

static sam3_status segment_masks(struct run *r, const struct call *call, struct model_answer *answer,
                                 struct sam3_result *result) {
  if (!result->n_detections)
    return SAM3_OK;
  struct tensor pixels = take_shared(r, call->features->tensors.levels[0].rows, answer->memory.cols);
  pixel_embeddings(r, pixels, &call->features->tensors, answer->memory, answer->tokens);
  for (size_t i = 0; i < result->n_detections; i += MASK_BATCH) {
    size_t left = result->n_detections - i;
    if (!progress(r, "masks", 0.5 + 0.5 * (double)i / (double)result->n_detections))
      break;
    TRY(segment_batch(r, call, pixels, answer->decoded.queries, result->detections + i,
                      (int)(left < MASK_BATCH ? left : MASK_BATCH)));
  }
  return SAM3_OK;
}

/* ---------------------------------------------------------------------------------------- prompts */

static sam3_status answer_prompt(struct run *r, const struct call *call, const struct model_prompt *prompt,
                                 struct sam3_result *result) {
  sam3_session *s = call->session;
  size_t queries = (size_t)r->net->config.queries;
  float presence, *logits = s->answers, *boxes = s->answers + queries;
  struct model_answer answer;
  model_answer(r, &answer, &call->features->tensors, prompt);
  r->ops->download(r->dev, &presence, answer.decoded.presence.data, sizeof presence);
  r->ops->download(r->dev, logits, answer.logits.data, queries * sizeof *logits);
  r->ops->download(r->dev, boxes, answer.decoded.boxes.data, queries * 4 * sizeof *boxes);
  TRY(r->ops->sync(r->dev, call->err));
  if (r->cancelled)
    return SAM3_OK;
  TRY(check_finite(call, &presence, 1, "scores"));
  TRY(check_finite(call, s->answers, 5 * queries, "scores and boxes"));
  TRY(keep_detections(call, result, logits, boxes, presence));
  return segment_masks(r, call, &answer, result);
}

/* Runs a prompt whose text is in a slot. */
static sam3_status run_prompt(struct run *r, const struct call *call, const struct sam3_prompt *prompt, int slot,
                              struct sam3_result *result) {
  const sam3_session *s = call->session;
  const struct text_slot *text = &s->texts[slot];
  const float w = (float)call->features->width, h = (float)call->features->height;
  struct geometry_box boxes[MAX_BOXES];
  int32_t rows[CONFIG_MAX_CONTEXT];
  struct model_prompt input = {
      .texts = s->text_features, .text_rows = rows, .boxes = boxes, .n_boxes = (int)prompt->n_boxes};
  for (int i = 0; i < text->count; i++)
    if (text->ids[i] != 0) /* the padding id; a real token of that id is masked too, as in the original */
      rows[input.n_text++] = slot * r->net->config.text.context + i;
  for (size_t i = 0; i < prompt->n_boxes; i++) {
    /* Divided first, as the original's processor does: a sample may lie on the edge of the image but for rounding. */
    const struct sam3_box *b = &prompt->boxes[i];
    const float x0 = b->x0 / w, y0 = b->y0 / h, x1 = b->x1 / w, y1 = b->y1 / h;
    boxes[i] = (struct geometry_box){(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, b->positive};
  }
  struct run_mark mark = mark_run(r);
  sam3_status status = answer_prompt(r, call, &input, result);
  release_run(r, mark);
  return status;
}

static sam3_status copy_prompt(const struct call *call, const struct sam3_prompt *prompt, struct sam3_result *result) {
  if (prompt->text && !(result->text = mem_strdup(prompt->text)))
    return fail_memory(call->err, strlen(prompt->text), "the prompt");
  if (!prompt->n_boxes)
    return SAM3_OK;
  if (!(result->boxes = mem_zeroed(prompt->n_boxes, sizeof *result->boxes)))
    return fail_memory(call->err, prompt->n_boxes * sizeof *result->boxes, "the prompt");
  memcpy(result->boxes, prompt->boxes, prompt->n_boxes * sizeof *result->boxes);
  result->n_boxes = prompt->n_boxes;
  return SAM3_OK;
}

/* Prompts first .. first + n - 1, n <= TEXT_BATCH, of `total`. */
static sam3_status segment_group(const struct call *call, const struct sam3_prompt *prompts, size_t first, int n,
                                 size_t total, struct sam3_results *results) {
  sam3_session *s = call->session;
  struct tokens tokens[TEXT_BATCH];
  int slots[TEXT_BATCH];
  for (int i = 0; i < n; i++) {
    const char *text = prompts[first + i].text ? prompts[first + i].text : BOX_TEXT;
    TRY(tokenize(call, first + (size_t)i, text, &tokens[i]));
  }
  struct watcher watcher;
  struct run r = session_run(s, session_watch(s, &watcher, prompt_fraction, (double)first, (double)total));
  TRY(encode_texts(&r, s, tokens, n, slots, call->err));
  for (int i = 0; i < n && !r.cancelled; i++) {
    struct sam3_result *result = &results->items[first + i];
    watcher.index = (double)(first + i);
    results->n_items = first + i + 1;
    TRY(copy_prompt(call, &prompts[first + i], result));
    TRY(run_prompt(&r, call, &prompts[first + i], slots[i], result));
  }
  TRY(run_error(&r, call->err));
  return r.cancelled ? fail(call->err, SAM3_ERR_CANCELLED, "cancelled at prompt %zu of %zu", first + 1, total)
                     : SAM3_OK;
}

static sam3_status segment_all(const struct call *call, const struct sam3_prompt *prompts, size_t n,
                               struct sam3_results *results) {
  results->width = call->features->width;
  results->height = call->features->height;
  if (!(results->items = mem_zeroed(n, sizeof *results->items)))
    return fail_memory(call->err, n * sizeof *results->items, "the results");
  for (size_t first = 0; first < n; first += TEXT_BATCH)
    TRY(segment_group(call, prompts, first, (int)(n - first < TEXT_BATCH ? n - first : TEXT_BATCH), n, results));
  return SAM3_OK;
}

sam3_status sam3_segment(sam3_session *session, const sam3_features *features, const struct sam3_prompt *prompts,
                         size_t n, const struct sam3_segment_options *options, struct sam3_results **results,
                         struct sam3_error *err) {
  struct call call = {session, features, options ? options->threshold : SAM3_DEFAULT_THRESHOLD, err};
  *results = NULL;
  TRY(check_arguments(&call, prompts, n));
  if (!(*results = mem_zeroed(1, sizeof **results)))
    return fail_memory(err, sizeof **results, "the results");
  session_enter(session, features);
  sam3_status status = session_leave(session, segment_all(&call, prompts, n, *results), err);
  if (status != SAM3_OK) {
    sam3_results_free(*results);
    *results = NULL;
  }
  return status;
}
