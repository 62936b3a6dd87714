#include <math.h>
#include <stdio.h>

#include "model/run.h"

void probe(struct run *r, const char *format, int number, struct tensor value, const int32_t *order) {
  if (!probed(r))
    return;
  wait_for_all(r); /* for others' rows, and below, before they are written again */
  char stage[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(stage, sizeof stage, format, number);
#pragma GCC diagnostic pop
  r->observer->probe(r->observer->user, stage, value, order);
  wait_for_all(r);
}

struct attention project(struct run *r, struct tensor queries, struct tensor keys, struct tensor values,
                         const struct attention_weights *w, struct attention shape, const struct part *spread) {
  int64_t n_keys = spread ? spread->rows : keys.rows;
  shape.q = take(r, queries.rows, queries.cols);
  shape.k = spread ? take_shared(r, n_keys, keys.cols) : take(r, n_keys, keys.cols);
  shape.v = spread ? take_shared(r, n_keys, values.cols) : take(r, n_keys, values.cols);
  shape.out = queries;
  shape.batch = 1;
  shape.scale = 1 / sqrtf((float)shape.q.cols / (float)shape.heads);
  r->ops->linear(r->dev, shape.q, queries, &w->q, ACT_NONE, NULL);
  r->ops->linear(r->dev, spread ? mine(shape.k, *spread) : shape.k, keys, &w->k, ACT_NONE, NULL);
  r->ops->linear(r->dev, spread ? mine(shape.v, *spread) : shape.v, values, &w->v, ACT_NONE, NULL);
  if (spread)
    gather_all(r, (const struct tensor[]){shape.k, shape.v}, 2, *spread);
  return shape;
}

void attend(struct run *r, struct tensor y, const struct tensor *residual, struct tensor queries, struct tensor keys,
            struct tensor values, const struct attention_weights *w, struct attention shape,
            const struct part *spread) {
  struct run_mark mark = mark_run(r);
  struct attention att = project(r, queries, keys, values, w, shape, spread);
  r->ops->attention(r->dev, &att);
  r->ops->linear(r->dev, y, att.out, &w->o, ACT_NONE, residual);
  release_run(r, mark);
}

void attend_sequences(struct run *r, struct tensor y, const struct tensor *residual, struct tensor x,
                      const int *lengths, int n, const struct attention_weights *w, struct attention shape) {
  size_t mark = arena_mark(r->arena);
  const struct attention all = project(r, x, x, x, w, shape, NULL);
  struct attention one = all;
  for (int i = 0, first = 0; i < n; first += lengths[i++]) {
    one.q = rows_of(all.q, first, lengths[i]);
    one.k = rows_of(all.k, first, lengths[i]);
    one.v = rows_of(all.v, first, lengths[i]);
    one.out = rows_of(all.out, first, lengths[i]);
    r->ops->attention(r->dev, &one);
  }
  r->ops->linear(r->dev, y, all.out, &w->o, ACT_NONE, residual);
  arena_release(r->arena, mark);
}

void mlp(struct run *r, struct tensor y, struct tensor x, const struct mlp_weights *w, enum activation act,
         struct tensor residual) {
  const int64_t most = (int64_t)100 << 20; /* bytes of hidden layer alive at a time */
  if (x.rows == 0)
    return;
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
                  const struct attention_weights *w, int heads, const struct part *spread) {
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, x.rows, x.cols), placed = h;
  r->ops->layer_norm(r->dev, h, x, norm);
  if (position) {
    placed = take(r, x.rows, x.cols);
    r->ops->add(r->dev, placed, h, *position);
  }
  attend(r, x, &x, placed, placed, h, w, (struct attention){.heads = heads}, spread);
  arena_release(r->arena, mark);
}

void cross_prenorm(struct run *r, struct tensor x, struct tensor keys, struct tensor values, const struct norm *norm,
                   const struct attention_weights *w, int heads, const struct part *spread) {
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, x.rows, x.cols);
  r->ops->layer_norm(r->dev, h, x, norm);
  attend(r, x, &x, h, keys, values, w, (struct attention){.heads = heads}, spread);
  arena_release(r->arena, mark);
}

void group_norm_relu(struct run *r, struct tensor x, const struct norm *norm) {
  if (!r->group) {
    r->ops->group_norm_relu(r->dev, x, x, CONFIG_NORM_GROUPS, norm, NULL);
    return;
  }
  struct run_mark mark = mark_run(r);
  struct tensor moments = take_shared(r, r->group->size, 1 + 2 * CONFIG_NORM_GROUPS);
  struct part own = part_of(r, moments.rows);
  r->ops->group_moments(r->dev, mine(moments, own), x, CONFIG_NORM_GROUPS);
  gather(r, moments, own);
  r->ops->group_norm_relu(r->dev, x, x, CONFIG_NORM_GROUPS, norm, &moments);
  release_run(r, mark);
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
