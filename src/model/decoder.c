/* The decoder: object queries and a presence token, refined layer by layer, and the score of each query. */
#include "model/model.h"

/* y [(1 + Q) * grid, heads]: the bias of each query's box along an axis; the presence token, first, has none. */
static void box_bias(struct run *r, struct tensor y, const float *boxes, int axis, const struct head_weights *head) {
  int grid = r->net->config.vision.grid, queries = r->net->config.queries;
  size_t mark = arena_mark(r->arena);
  struct tensor distances = take(r, (int64_t)queries * grid, 2);
  r->ops->box_distances(r->dev, distances, boxes, axis, grid);
  run_head(r, rows_of(y, grid, (int64_t)queries * grid), distances, head, NULL);
  r->ops->clear(r->dev, rows_of(y, 0, grid));
  arena_release(r->arena, mark);
}

/* x = norm(x + attention(x + position, keys, values)); keys and values are x's own when `keys` is NULL. */
static void attend_postnorm(struct run *r, struct tensor x, struct tensor position, const struct tensor *keys,
                            const struct tensor *values, const struct attention_weights *w, const struct norm *norm,
                            struct attention shape) {
  size_t mark = arena_mark(r->arena);
  struct tensor placed = take(r, x.rows, x.cols);
  shape.heads = r->net->config.decoder.heads;
  r->ops->add(r->dev, placed, x, position);
  attend(r, x, &x, placed, keys ? *keys : placed, values ? *values : x, w, shape);
  r->ops->layer_norm(r->dev, x, x, norm);
  arena_release(r->arena, mark);
}

/* One layer on x [1 + Q, D]; keys are the memory with its position encoding. */
static void decoder_layer(struct run *r, struct tensor x, const struct decoder_layer *w, struct tensor memory,
                          struct tensor keys, struct tensor prompt, const float *boxes) {
  const struct decoder_weights *d = &r->net->decoder;
  int grid = r->net->config.vision.grid, heads = r->net->config.decoder.heads;
  int64_t queries = x.rows - 1;
  size_t mark = arena_mark(r->arena);
  struct tensor sine = take(r, queries, 2 * x.cols), position = take(r, x.rows, x.cols);
  r->ops->sine_boxes(r->dev, sine, boxes);
  run_head(r, rows_of(position, 1, queries), sine, &d->reference, NULL);
  r->ops->clear(r->dev, rows_of(position, 0, 1));
  struct tensor bias_y = take(r, x.rows * grid, heads), bias_x = take(r, x.rows * grid, heads);
  box_bias(r, bias_y, boxes, 1, &d->bias_y);
  box_bias(r, bias_x, boxes, 0, &d->bias_x);

  attend_postnorm(r, x, position, NULL, NULL, &w->self, &w->self_norm, (struct attention){0});
  attend_postnorm(r, x, position, &prompt, &prompt, &w->text, &w->text_norm, (struct attention){0});
  attend_postnorm(r, x, position, &keys, &memory, &w->vision, &w->vision_norm,
                  (struct attention){.bias_y = bias_y.data, .bias_x = bias_x.data, .grid_h = grid, .grid_w = grid});
  mlp(r, x, x, &w->mlp, ACT_RELU, x);
  r->ops->layer_norm(r->dev, x, x, &w->mlp_norm);
  arena_release(r->arena, mark);
}

void decode(struct run *r, struct decoded *out, struct tensor memory, struct tensor prompt) {
  const struct decoder_weights *d = &r->net->decoder;
  const struct config *c = &r->net->config;
  int64_t queries = c->queries;
  size_t mark = arena_mark(r->arena);
  struct tensor x = take(r, 1 + queries, c->dim), keys = take(r, memory.rows, memory.cols);
  struct tensor delta = take(r, queries, 4), presence = take(r, 1, c->dim);
  r->ops->gather_rows(r->dev, rows_of(x, 0, 1), d->presence, r->plan->counting, NULL);
  r->ops->gather_rows(r->dev, rows_of(x, 1, queries), d->queries, r->plan->counting, NULL);
  r->ops->upload(r->dev, out->boxes, r->plan->references, (size_t)queries * 4 * sizeof(float));
  r->ops->add(r->dev, keys, memory, r->plan->sine);
  for (int i = 0; i < c->decoder.layers && progress(r, "decoder", (double)i / c->decoder.layers); i++) {
    decoder_layer(r, x, &d->layers[i], memory, keys, prompt, out->boxes);
    probe(r, "decoder.%d.hidden", i, x, NULL);
    r->ops->layer_norm(r->dev, out->queries, rows_of(x, 1, queries), &d->output_norm);
    run_head(r, delta, out->queries, &d->box, NULL);
    r->ops->refine_boxes(r->dev, out->boxes, delta);
    probe(r, "decoder.%d.boxes", i, (struct tensor){out->boxes, SAM3_F32, queries, 4, 4}, NULL);
  }
  r->ops->layer_norm(r->dev, presence, rows_of(x, 0, 1), &d->presence_norm);
  run_head(r, out->presence, presence, &d->presence_head, NULL);
  probe(r, "presence", 0, out->presence, NULL);
  arena_release(r->arena, mark);
}

void score(struct run *r, struct tensor y, struct tensor queries, struct tensor prompt) {
  const struct scoring_weights *w = &r->net->scoring;
  size_t mark = arena_mark(r->arena);
  struct tensor tokens = take(r, prompt.rows, prompt.cols), mean = take(r, 1, prompt.cols);
  struct tensor pooled = take(r, 1, w->prompt_projection.w.rows), q = take(r, queries.rows, pooled.cols);
  run_head(r, tokens, prompt, &w->prompt, &prompt);
  r->ops->layer_norm(r->dev, tokens, tokens, &w->prompt_norm);
  r->ops->mean_rows(r->dev, mean, tokens);
  r->ops->linear(r->dev, pooled, mean, &w->prompt_projection, ACT_NONE, NULL);
  r->ops->linear(r->dev, q, queries, &w->query_projection, ACT_NONE, NULL);
  r->ops->linear(r->dev, y, q, &(struct linear){.w = pooled}, ACT_NONE, NULL);
  arena_release(r->arena, mark);
}
