/* The decoder: object queries and a presence token, refined layer by layer, and the score of each query. */
#include "model/model.h"

/* The presence token and the queries in a row, and a rank's part of them: `presence` is 1 where the token is (rank 0),
 * and 0 elsewhere. */
struct rows {
  struct part all, queries;
  int64_t presence;
};

static struct rows decoder_rows(const struct run *r) {
  struct part all = part_of(r, 1 + r->net->config.queries), queries = part_behind(all, 1);
  return (struct rows){all, queries, all.n - queries.n};
}

/* y [(presence + queries) * grid, heads]: the bias of each query's box along an axis; the presence token has none. */
static void box_bias(struct run *r, struct tensor y, const float *boxes, int axis, const struct head_weights *head) {
  const struct rows rows = decoder_rows(r);
  int grid = r->net->config.vision.grid;
  size_t mark = arena_mark(r->arena);
  struct tensor distances = take(r, rows.queries.n * grid, 2);
  r->ops->box_distances(r->dev, distances, boxes, axis, grid);
  run_head(r, rows_of(y, rows.presence * grid, distances.rows), distances, head, NULL);
  r->ops->clear(r->dev, rows_of(y, 0, rows.presence * grid));
  arena_release(r->arena, mark);
}

/* x = norm(x + attention(x + position, keys, values)); keys and values are x's own when `keys` is NULL. */
static void attend_postnorm(struct run *r, struct tensor x, struct tensor position, const struct tensor *keys,
                            const struct tensor *values, const struct attention_weights *w, const struct norm *norm,
                            struct attention shape, const struct part *spread) {
  size_t mark = arena_mark(r->arena);
  struct tensor placed = take(r, x.rows, x.cols);
  shape.heads = r->net->config.decoder.heads;
  r->ops->add(r->dev, placed, x, position);
  attend(r, x, &x, placed, keys ? *keys : placed, values ? *values : x, w, shape, spread);
  r->ops->layer_norm(r->dev, x, x, norm);
  arena_release(r->arena, mark);
}

/* One layer on x [1 + Q, D]; keys are the memory with its position encoding. All of them are this rank's parts. */
static void decoder_layer(struct run *r, struct tensor x, const struct decoder_layer *w, struct tensor memory,
                          struct tensor keys, struct tensor prompt, const float *boxes) {
  const struct decoder_weights *d = &r->net->decoder;
  int grid = r->net->config.vision.grid, heads = r->net->config.decoder.heads;
  const struct rows rows = decoder_rows(r);
  const struct part cells = part_of(r, (int64_t)grid * grid);
  size_t mark = arena_mark(r->arena);
  struct tensor sine = take(r, rows.queries.n, 2 * x.cols), position = take(r, x.rows, x.cols);
  r->ops->sine_boxes(r->dev, sine, boxes);
  run_head(r, rows_of(position, rows.presence, rows.queries.n), sine, &d->reference, NULL);
  r->ops->clear(r->dev, rows_of(position, 0, rows.presence));
  struct tensor bias_y = take(r, x.rows * grid, heads), bias_x = take(r, x.rows * grid, heads);
  box_bias(r, bias_y, boxes, 1, &d->bias_y);
  box_bias(r, bias_x, boxes, 0, &d->bias_x);

  attend_postnorm(r, x, position, NULL, NULL, &w->self, &w->self_norm, (struct attention){0}, &rows.all);
  attend_postnorm(r, x, position, &prompt, &prompt, &w->text, &w->text_norm, (struct attention){0}, NULL);
  attend_postnorm(r, x, position, &keys, &memory, &w->vision, &w->vision_norm,
                  (struct attention){.bias_y = bias_y.data, .bias_x = bias_x.data, .grid_h = grid, .grid_w = grid},
                  &cells);
  mlp(r, x, x, &w->mlp, ACT_RELU, x);
  r->ops->layer_norm(r->dev, x, x, &w->mlp_norm);
  arena_release(r->arena, mark);
}

void decode(struct run *r, struct decoded *out, struct tensor memory, struct tensor prompt) {
  const struct decoder_weights *d = &r->net->decoder;
  const struct config *c = &r->net->config;
  const struct rows rows = decoder_rows(r);
  const struct part cells = part_of(r, memory.rows), own = rows.queries;
  struct run_mark mark = mark_run(r);
  struct tensor all = take_shared(r, rows.all.rows, c->dim), x = mine(all, rows.all);
  struct tensor keys = take(r, cells.n, memory.cols), delta = take(r, own.n, 4), presence = take(r, 1, c->dim);
  struct tensor queries = mine(out->queries, own), boxes = mine(out->boxes, own);
  r->ops->gather_rows(r->dev, rows_of(x, 0, rows.presence), d->presence, r->plan->counting, NULL);
  r->ops->gather_rows(r->dev, rows_of(x, rows.presence, own.n), d->queries, r->plan->counting + own.first, NULL);
  r->ops->upload(r->dev, boxes.data, r->plan->references + 4 * own.first, (size_t)own.n * 4 * sizeof(float));
  memory = mine(memory, cells);
  r->ops->add(r->dev, keys, memory, mine(r->plan->sine, cells));
  for (int i = 0; i < c->decoder.layers && progress(r, "decoder", (double)i / c->decoder.layers); i++) {
    decoder_layer(r, x, &d->layers[i], memory, keys, prompt, boxes.data);
    probe(r, "decoder.%d.hidden", i, all, NULL);
    r->ops->layer_norm(r->dev, queries, rows_of(x, rows.presence, own.n), &d->output_norm);
    run_head(r, delta, queries, &d->box, NULL);
    r->ops->refine_boxes(r->dev, boxes.data, delta);
    probe(r, "decoder.%d.boxes", i, out->boxes, NULL);
  }
  if (rows.presence) {
    r->ops->layer_norm(r->dev, presence, rows_of(x, 0, 1), &d->presence_norm);
    run_head(r, out->presence, presence, &d->presence_head, NULL);
  }
  broadcast(r, out->presence);
  gather_all(r, (const struct tensor[]){out->queries, out->boxes}, 2, own);
  probe(r, "presence", 0, out->presence, NULL);
  release_run(r, mark);
}

void score(struct run *r, struct tensor y, struct tensor queries, struct tensor prompt) {
  const struct scoring_weights *w = &r->net->scoring;
  const struct part own = decoder_rows(r).queries;
  size_t mark = arena_mark(r->arena);
  struct tensor tokens = take(r, prompt.rows, prompt.cols), mean = take(r, 1, prompt.cols);
  struct tensor pooled = take(r, 1, w->prompt_projection.w.rows), q = take(r, own.n, pooled.cols);
  run_head(r, tokens, prompt, &w->prompt, &prompt);
  r->ops->layer_norm(r->dev, tokens, tokens, &w->prompt_norm);
  r->ops->mean_rows(r->dev, mean, tokens);
  r->ops->linear(r->dev, pooled, mean, &w->prompt_projection, ACT_NONE, NULL);
  r->ops->linear(r->dev, q, mine(queries, own), &w->query_projection, ACT_NONE, NULL);
  r->ops->linear(r->dev, mine(y, own), q, &(struct linear){.w = pooled}, ACT_NONE, NULL);
  gather(r, y, own);
  arena_release(r->arena, mark);
}
