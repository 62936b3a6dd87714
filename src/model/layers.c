#include <math.h>
#include <stdio.h>

#include "model/run.h"

void probe(struct run *r, const char *format, int number, struct tensor value, const int32_t *order) {
  if (!probed(r))
    return;
  char stage[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(stage, sizeof stage, format, number);
#pragma GCC diagnostic pop
  r->observer->probe(r->observer->user, stage, value, order);
}

static void run_attention(struct run *r, struct attention shape, const int *lengths, int n) {
  struct attention part = shape;
  for (int i = 0, first = 0; i < n; first += lengths[i++]) {
    part.q = rows_of(shape.q, first, lengths[i]);
    part.k = rows_of(shape.k, first, lengths[i]);
    part.v = rows_of(shape.v, first, lengths[i]);
    part.out = rows_of(shape.out, first, lengths[i]);
    r->ops->attention(r->dev, &part);
  }
  if (n == 0)
    r->ops->attention(r->dev, &shape);
}

/* n == 0: one sequence, or as many as shape.batch says. */
static void project_and_attend(struct run *r, struct tensor y, const struct tensor *residual, struct tensor queries,
                               struct tensor keys, struct tensor values, const struct attention_weights *w,
                               struct attention shape, const int *lengths, int n) {
  size_t mark = arena_mark(r->arena);
  shape.q = take(r, queries.rows, queries.cols);
  shape.k = take(r, keys.rows, keys.cols);
  shape.v = take(r, values.rows, values.cols);
  shape.out = queries;
  shape.batch = shape.batch ? shape.batch : 1;
  shape.scale = 1 / sqrtf((float)shape.q.cols / (float)shape.heads);
  r->ops->linear(r->dev, shape.q, queries, &w->q, ACT_NONE, NULL);
  r->ops->linear(r->dev, shape.k, keys, &w->k, ACT_NONE, NULL);
  r->ops->linear(r->dev, shape.v, values, &w->v, ACT_NONE, NULL);
  run_attention(r, shape, lengths, n);
  r->ops->linear(r->dev, y, shape.out, &w->o, ACT_NONE, residual);
  arena_release(r->arena, mark);
}

void attend(struct run *r, struct tensor y, const struct tensor *residual, struct tensor queries, struct tensor keys,
            struct tensor values, const struct attention_weights *w, struct attention shape) {
  project_and_attend(r, y, residual, queries, keys, values, w, shape, NULL, 0);
}

void attend_sequences(struct run *r, struct tensor y, const struct tensor *residual, struct tensor x,
                      const int *lengths, int n, const struct attention_weights *w, struct attention shape) {
  project_and_attend(r, y, residual, x, x, x, w, shape, lengths, n);
}

void mlp(struct run *r, struct tensor y, struct tensor x, const struct mlp_weights *w, enum activation act,
         struct tensor residual) {
  const int64_t most = (int64_t)100 << 20; /* bytes of hidden layer alive at a time */
  int64_t hidden = w->up.w.rows, pieces = (x.rows * hidden * (int64_t)sizeof(float) + most - 1) / most;
  int64_t step = (x.rows + pieces - 1) / pieces;
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, step, hidden);
  for (int64_t first = 0; first < x.rows; first += step) {
    int64_t n = first + step < x.rows ? step : x.rows - first;
    struct tensor part = rows_of(residual, first, n);
    h.rows = n;
    r->ops->linear(r->dev, h, rows_of(x, first, n), &w->up, act, NULL);
    r->ops->linear(r->dev, rows_of(y, first, n), h, &w->down, ACT_NONE, &part);
  }
  arena_release(r->arena, mark);
}

void mlp_prenorm(struct run *r, struct tensor x, const struct norm *norm, const struct mlp_weights *w,
                 enum activation act) {
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, x.rows, x.cols);
  r->ops->layer_norm(r->dev, h, x, norm);
  mlp(r, x, h, w, act, x);
  arena_release(r->arena, mark);
}

void self_prenorm(struct run *r, struct tensor x, const struct tensor *position, const struct norm *norm,
                  const struct attention_weights *w, int heads) {
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, x.rows, x.cols), placed = h;
  r->ops->layer_norm(r->dev, h, x, norm);
  if (position) {
    placed = take(r, x.rows, x.cols);
    r->ops->add(r->dev, placed, h, *position);
  }
  attend(r, x, &x, placed, placed, h, w, (struct attention){.heads = heads});
  arena_release(r->arena, mark);
}

void cross_prenorm(struct run *r, struct tensor x, struct tensor keys, struct tensor values, const struct norm *norm,
                   const struct attention_weights *w, int heads) {
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, x.rows, x.cols);
  r->ops->layer_norm(r->dev, h, x, norm);
  attend(r, x, &x, h, keys, values, w, (struct attention){.heads = heads});
  arena_release(r->arena, mark);
}

void run_head(struct run *r, struct tensor y, struct tensor x, const struct head_weights *h,
              const struct tensor *residual) {
  size_t mark = arena_mark(r->arena);
  for (int i = 0; i < h->n; i++) {
    bool last = i == h->n - 1;
    struct tensor out = last ? y : take(r, x.rows, h->layers[i].w.rows);
    r->ops->linear(r->dev, out, x, &h->layers[i], last ? ACT_NONE : ACT_RELU, last ? residual : NULL);
    x = out;
  }
  arena_release(r->arena, mark);
}
