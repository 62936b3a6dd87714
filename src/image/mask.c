#include "image/mask.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/rle.h"

/* The least float whose sigmoid in f32 exceeds 0.5: below it 1 + exp(-x) rounds to 2. */
static const float threshold = 0x1.8p-24f;

/* Output i is near[i] * input[at[i]] + far[i] * input[at[i] + 1]; at the last input, far is 0 or meets it again. */
struct axis {
  int in, out;
  int *at;
  float *near, *far;
  int *first; /* [in + 1]: outputs first[s] .. first[s + 1] - 1 have at == s */
};

static void axis_free(struct axis *axis) {
  free(axis->at);
  free(axis->near);
  free(axis->far);
  free(axis->first);
}

static sam3_status axis_create(struct axis *axis, int in, int out, struct sam3_error *err) {
  *axis = (struct axis){
      .in = in,
      .out = out,
      .at = mem_zeroed((size_t)out, sizeof *axis->at),
      .near = mem_zeroed((size_t)out, sizeof *axis->near),
      .far = mem_zeroed((size_t)out, sizeof *axis->far),
      .first = mem_zeroed((size_t)in + 1, sizeof *axis->first),
  };
  if (!axis->at || !axis->near || !axis->far || !axis->first)
    return fail_memory(err, (size_t)out * 12, "mask weights");
  float scale = (float)in / (float)out;
  for (int i = 0; i < out; i++) {
    float source = in == out ? (float)i : fmaxf(scale * ((float)i + 0.5f) - 0.5f, 0);
    int at = (int)source < in - 1 ? (int)source : in - 1;
    axis->at[i] = at;
    axis->far[i] = fminf(fmaxf(source - (float)at, 0), 1);
    axis->near[i] = 1 - axis->far[i];
    axis->first[at + 1] = i + 1;
  }
  for (int s = 0; s < in; s++)
    if (axis->first[s + 1] < axis->first[s])
      axis->first[s + 1] = axis->first[s];
  return SAM3_OK;
}

/* Appends one output column, given all source rows of it, f32 [y->in]. */
static sam3_status append_column(struct rle_builder *builder, const struct axis *y, const float *column,
                                 struct sam3_error *err) {
  for (int s = 0; s < y->in; s++) {
    int begin = y->first[s], end = y->first[s + 1];
    float near = column[s], far = column[s + 1 < y->in ? s + 1 : s];
    /* What lies between two values on one side of the threshold is on that side. */
    if ((near > threshold) == (far > threshold)) {
      TRY(rle_append(builder, (uint32_t)(end - begin), near > threshold, err));
      continue;
    }
    for (int i = begin; i < end; i++)
      TRY(rle_append(builder, 1, near * y->near[i] + far * y->far[i] > threshold, err));
  }
  return SAM3_OK;
}

struct workspace {
  struct axis x, y;
  float *columns;   /* the logits transposed, [w, h] */
  bool *background; /* [w]: the source column is nowhere above the threshold */
  float *column;    /* [h]: one output column, not yet resized in y */
};

static sam3_status append_columns(struct rle_builder *builder, const struct workspace *work, int width, int height,
                                  struct sam3_error *err) {
  size_t h = (size_t)work->y.in;
  for (int x = 0; x < width; x++) {
    int left = work->x.at[x], right = left + 1 < work->x.in ? left + 1 : left;
    if (work->background[left] && work->background[right]) {
      TRY(rle_append(builder, (uint32_t)height, false, err));
      continue;
    }
    const float *a = work->columns + (size_t)left * h, *b = work->columns + (size_t)right * h;
    float near = work->x.near[x], far = work->x.far[x];
    for (size_t s = 0; s < h; s++)
      work->column[s] = a[s] * near + b[s] * far;
    TRY(append_column(builder, &work->y, work->column, err));
  }
  return rle_end(builder, err);
}

static sam3_status prepare(struct workspace *work, const float *logits, int h, int w, int height, int width,
                           struct sam3_error *err) {
  TRY(axis_create(&work->x, w, width, err));
  TRY(axis_create(&work->y, h, height, err));
  work->columns = mem_zeroed((size_t)w * (size_t)h, sizeof *work->columns);
  work->background = mem_zeroed((size_t)w, sizeof *work->background);
  work->column = mem_zeroed((size_t)h, sizeof *work->column);
  if (!work->columns || !work->background || !work->column)
    return fail_memory(err, (size_t)w * (size_t)h * sizeof *work->columns, "mask logits");
  for (int x = 0; x < w; x++) {
    work->background[x] = true;
    for (int y = 0; y < h; y++) {
      float value = logits[(size_t)y * (size_t)w + (size_t)x];
      work->columns[(size_t)x * (size_t)h + (size_t)y] = value;
      work->background[x] &= !(value > threshold);
    }
  }
  return SAM3_OK;
}

sam3_status mask_from_logits(const float *logits, int h, int w, int height, int width, struct sam3_rle *rle,
                             uint64_t *area, struct sam3_error *err) {
  struct rle_builder builder;
  struct workspace work = {0};
  TRY(rle_begin(&builder, rle, width, height, err));
  if (h < 1 || w < 1)
    return fail(err, SAM3_ERR_ARGUMENT, "mask logits of %d x %d", w, h);
  sam3_status status = prepare(&work, logits, h, w, height, width, err);
  if (status == SAM3_OK)
    status = append_columns(&builder, &work, width, height, err);
  axis_free(&work.x);
  axis_free(&work.y);
  free(work.columns);
  free(work.background);
  free(work.column);
  if (status != SAM3_OK)
    rle_free(rle);
  else
    *area = rle_area(rle);
  return status;
}
