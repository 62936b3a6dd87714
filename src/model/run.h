/* One pass of the network: where it runs, where activations live, who watches. */
#ifndef SAM3_MODEL_RUN_H
#define SAM3_MODEL_RUN_H

#include "base/arena.h"
#include "model/network.h"
#include "model/plan.h"

/* Who is told how a run gets on; every member may be NULL. */
struct observer {
  /* Before each piece of `stage`, `fraction` (0..1) of which is done. False: stop. */
  bool (*progress)(void *user, const char *stage, double fraction);
  /* The value of a stage, for tests. Row i is cell order[i] of the grid; NULL: in order. */
  void (*probe)(void *user, const char *stage, struct tensor value, const int32_t *order);
  void *user;
};

struct run {
  struct device *dev;
  const struct device_ops *ops; /* dev->ops */
  struct arena *arena;
  const struct network *net;
  const struct plan *plan;
  const struct observer *observer; /* may be NULL */
  bool cancelled;
};

/* A float matrix from the arena, not zeroed. */
static inline struct tensor take(struct run *r, int64_t rows, int64_t cols) {
  return (struct tensor){arena_take(r->arena, (size_t)(rows * cols) * sizeof(float)), SAM3_F32, rows, cols, cols};
}

/* Rows first .. first + n - 1. */
static inline struct tensor rows_of(struct tensor t, int64_t first, int64_t n) {
  t.data = (char *)t.data + (size_t)(first * t.stride) * dtype_size(t.dtype);
  t.rows = n;
  return t;
}

/* Columns first .. first + n - 1. */
static inline struct tensor cols_of(struct tensor t, int64_t first, int64_t n) {
  t.data = (char *)t.data + (size_t)first * dtype_size(t.dtype);
  t.cols = n;
  return t;
}

/* False: the run has been cancelled, return. */
static inline bool progress(struct run *r, const char *stage, double fraction) {
  if (!r->cancelled && r->observer && r->observer->progress)
    r->cancelled = !r->observer->progress(r->observer->user, stage, fraction);
  return !r->cancelled;
}

static inline bool probed(const struct run *r) {
  return r->observer && r->observer->probe;
}

/* Shows a value to the observer; the name is a format with one number. */
void probe(struct run *r, const char *format, int number, struct tensor value, const int32_t *order);

/* ---- parts that several stages are made of (layers.c) ---- */

/* y = o(attention(q(queries), k(keys), v(values))) + residual (NULL: none; may be y). `queries` is overwritten. `shape`
 * gives heads, and where wanted batch, rotary table, bias and causality. */
void attend(struct run *r, struct tensor y, const struct tensor *residual, struct tensor queries, struct tensor keys,
            struct tensor values, const struct attention_weights *w, struct attention shape);

/* The same for n sequences of lengths[i] rows, one behind the other, that do not see each other. */
void attend_sequences(struct run *r, struct tensor y, const struct tensor *residual, struct tensor x,
                      const int *lengths, int n, const struct attention_weights *w, struct attention shape);

/* x += down(act(up(norm(x)))) */
void mlp_prenorm(struct run *r, struct tensor x, const struct norm *norm, const struct mlp_weights *w,
                 enum activation act);

/* x += self-attention(norm(x)), with `position` (or NULL) added to what queries and keys are made of. */
void self_prenorm(struct run *r, struct tensor x, const struct tensor *position, const struct norm *norm,
                  const struct attention_weights *w, int heads);

/* x += attention(norm(x), keys, values) */
void cross_prenorm(struct run *r, struct tensor x, struct tensor keys, struct tensor values, const struct norm *norm,
                   const struct attention_weights *w, int heads);

/* y = down(act(up(x))) + residual, in pieces of rows so that the hidden layer stays small; y may be residual. */
void mlp(struct run *r, struct tensor y, struct tensor x, const struct mlp_weights *w, enum activation act,
         struct tensor residual);

/* y = the head's layers on x, ReLU between them, + residual (or NULL). */
void run_head(struct run *r, struct tensor y, struct tensor x, const struct head_weights *h,
              const struct tensor *residual);

#endif
