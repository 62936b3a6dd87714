/* One pass of the network: where it runs, where activations live, who watches. */
#ifndef SAM3_MODEL_RUN_H
#define SAM3_MODEL_RUN_H

#include "backend/group.h"
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
  /* Where the run is split over the ranks of a group, and NULL where it is alone on its device: */
  struct group *group;
  struct arena *shared;      /* what other ranks read; each takes the same from it in the same order */
  struct sam3_error error;   /* why the group is broken, and then */
  struct dry_device nowhere; /* what the rest of the run is computed on */
};

/* A float matrix from the arena, not zeroed. */
static inline struct tensor take_from(struct arena *arena, int64_t rows, int64_t cols) {
  return (struct tensor){arena_take(arena, (size_t)(rows * cols) * sizeof(float)), SAM3_F32, rows, cols, cols};
}
static inline struct tensor take(struct run *r, int64_t rows, int64_t cols) {
  return take_from(r->arena, rows, cols);
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

/* False: the run has been cancelled, return. In a split the answer of rank 0 counts, from the next gather on. */
static inline bool progress(struct run *r, const char *stage, double fraction) {
  if (!r->cancelled && r->observer && r->observer->progress) {
    bool stop = !r->observer->progress(r->observer->user, stage, fraction);
    if (r->group)
      r->group->wish = r->group->wish || stop;
    else
      r->cancelled = stop;
  }
  return !r->cancelled;
}

static inline bool probed(const struct run *r) {
  return r->observer && r->observer->probe;
}

/* Shows a value to the observer; the name is a format with one number. */
void probe(struct run *r, const char *format, int number, struct tensor value, const int32_t *order);

/* ---- a run that is split over ranks (split.c) ----
 *
 * Stages read and write whole tensors in memory that all ranks see; inside, each rank computes its part of the rows, in
 * memory of its own but for what others read. Alone, a part is the whole and the functions below do nothing.
 *
 * What is shared stays right by one rule: between two collective calls a row is written by one rank and read by no
 * other, or only read. A rank writes the rows of its part and no others; gather() stands between writing and reading;
 * and shared memory is released, so that it can be taken and written again, only when every rank has read it. */

/* This rank's part of so many rows; or of the pixels of a map that is a multiple of the ViT's grid, in whole rows of
 * that grid. */
struct part part_of(const struct run *r, int64_t rows);
struct part part_of_map(const struct run *r, int64_t pixels);

static inline struct tensor mine(struct tensor t, struct part part) {
  return rows_of(t, part.first, part.n);
}

/* As take(), for what other ranks read. Between mark_run() and release_run(), which waits for those who still read. */
struct tensor take_shared(struct run *r, int64_t rows, int64_t cols);

struct run_mark {
  size_t own, shared;
};
struct run_mark mark_run(const struct run *r);
void release_run(struct run *r, struct run_mark mark);

/* Every rank has written its part of the tensor, or tensors: afterwards all see the whole. */
void gather(struct run *r, struct tensor t, struct part part);
void gather_all(struct run *r, const struct tensor *tensors, int n, struct part part);

/* Rank 0 has written the tensor: afterwards all see it. */
void broadcast(struct run *r, struct tensor t);
static inline bool is_first(const struct run *r) {
  return !r->group || r->group->rank == 0;
}

/* Why the group is broken, if it is. The run has then been cancelled, and what it computed is void. */
sam3_status run_error(const struct run *r, struct sam3_error *err);

/* Every rank has come here. */
void wait_for_all(struct run *r);

/* ---- parts that several stages are made of (layers.c) ---- */

/* y = o(attention(q(queries), k(keys), v(values))) + residual (NULL: none; may be y). `queries` is overwritten. `shape`
 * gives heads, and where wanted bias and causality. `spread`: keys and values are this rank's part of theirs, and those
 * of all ranks are attended to; NULL: each rank has all keys and values. */
void attend(struct run *r, struct tensor y, const struct tensor *residual, struct tensor queries, struct tensor keys,
            struct tensor values, const struct attention_weights *w, struct attention shape, const struct part *spread);

/* The same for n sequences of lengths[i] rows, one behind the other, that do not see each other. */
void attend_sequences(struct run *r, struct tensor y, const struct tensor *residual, struct tensor x,
                      const int *lengths, int n, const struct attention_weights *w, struct attention shape);

/* The first half of attend(): q, k and v, with room for the output in `queries`. Where keys are spread it takes shared
 * memory. */
struct attention project(struct run *r, struct tensor queries, struct tensor keys, struct tensor values,
                         const struct attention_weights *w, struct attention shape, const struct part *spread);

/* x += down(act(up(norm(x)))) */
void mlp_prenorm(struct run *r, struct tensor x, const struct norm *norm, const struct mlp_weights *w,
                 enum activation act);

/* x += self-attention(norm(x)), with `position` (or NULL) added to what queries and keys are made of. `spread`: x is
 * this rank's part. */
void self_prenorm(struct run *r, struct tensor x, const struct tensor *position, const struct norm *norm,
                  const struct attention_weights *w, int heads, const struct part *spread);

/* x += attention(norm(x), keys, values); `spread` as in attend(). */
void cross_prenorm(struct run *r, struct tensor x, struct tensor keys, struct tensor values, const struct norm *norm,
                   const struct attention_weights *w, int heads, const struct part *spread);

/* y = down(act(up(x))) + residual, in pieces of rows so that the hidden layer stays small; y may be residual. */
void mlp(struct run *r, struct tensor y, struct tensor x, const struct mlp_weights *w, enum activation act,
         struct tensor residual);

/* x = max(0, group norm of x), over the rows of all ranks, of which x is this rank's. */
void group_norm_relu(struct run *r, struct tensor x, const struct norm *norm);

/* y = the head's layers on x, ReLU between them, + residual (or NULL). */
void run_head(struct run *r, struct tensor y, struct tensor x, const struct head_weights *h,
              const struct tensor *residual);

#endif
