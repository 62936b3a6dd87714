/* The dry device: no arithmetic, only the operators' contracts. A model run on it counts its arena and proves every
 * shape, so that the devices that compute need not check. */
#include <stdarg.h>
#include <stdio.h>

#include "backend/device.h"
#include "base/error.h"

/* Keeps the first broken contract. */
__attribute__((format(printf, 3, 4))) static void expect(struct device *dev, bool holds, const char *format, ...) {
  struct dry_device *dry = (struct dry_device *)dev;
  if (holds || dry->error.status != SAM3_OK)
    return;
  char what[200];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  fail(&dry->error, SAM3_ERR_UNSUPPORTED, "the model's shapes do not fit together: %s", what);
}

static void count(struct device *dev, double flops) {
  ((struct dry_device *)dev)->flops += flops;
}

static bool is_activation(struct tensor t, int64_t rows, int64_t cols) {
  return t.dtype == SAM3_F32 && t.rows == rows && t.cols == cols && t.stride >= t.cols && rows >= 0 && cols >= 0;
}

static void dry_linear(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin,
                       enum activation act, const struct tensor *residual) {
  (void)act;
  expect(dev, is_activation(x, y.rows, lin->w.cols) && is_activation(y, x.rows, lin->w.rows),
         "linear [%lld, %lld] x [%lld, %lld] -> [%lld, %lld]", (long long)x.rows, (long long)x.cols,
         (long long)lin->w.rows, (long long)lin->w.cols, (long long)y.rows, (long long)y.cols);
  expect(dev, !residual || is_activation(*residual, y.rows, y.cols), "linear: the residual");
  count(dev, 2.0 * (double)y.rows * (double)y.cols * (double)x.cols);
}

static void dry_attention(struct device *dev, const struct attention *att) {
  int64_t nq = att->q.rows, nk = att->k.rows, width = att->q.cols;
  expect(dev, att->batch > 0 && nq % att->batch == 0 && nk % att->batch == 0, "attention: %d batches", att->batch);
  expect(dev, att->heads > 0 && width % att->heads == 0, "attention: width %lld, %d heads", (long long)width,
         att->heads);
  expect(dev, is_activation(att->q, nq, width) && is_activation(att->out, nq, width), "attention: q and out");
  expect(dev, is_activation(att->k, nk, width) && is_activation(att->v, nk, width), "attention: k and v");
  expect(dev, !att->rope_cos || nq == nk || (att->batch == 1 && att->first_query + nq <= nk),
         "attention: %lld queries from place %lld on, %lld keys", (long long)nq, (long long)att->first_query,
         (long long)nk);
  expect(dev, !att->causal || nq == nk, "attention: causal with %lld queries, %lld keys", (long long)nq, (long long)nk);
  expect(dev, !att->bias_y || (att->batch == 1 && nk == (int64_t)att->grid_h * att->grid_w),
         "attention: the bias grid");
  count(dev, 4.0 * (double)nq * (double)(nk / (att->batch > 0 ? att->batch : 1)) * (double)width);
}

static void dry_layer_norm(struct device *dev, struct tensor y, struct tensor x, const struct norm *norm) {
  (void)norm;
  expect(dev, is_activation(y, x.rows, x.cols) && is_activation(x, y.rows, y.cols), "layer_norm");
}

static void dry_group_norm_relu(struct device *dev, struct tensor y, struct tensor x, int groups,
                                const struct norm *norm, const struct tensor *moments) {
  dry_layer_norm(dev, y, x, norm);
  expect(dev, groups > 0 && x.cols % groups == 0, "group_norm: %lld channels, %d groups", (long long)x.cols, groups);
  expect(dev, !moments || is_activation(*moments, moments->rows, 1 + 2 * groups), "group_norm: the moments");
}

static void dry_group_moments(struct device *dev, struct tensor y, struct tensor x, int groups) {
  expect(dev, is_activation(y, 1, 1 + 2 * groups) && is_activation(x, x.rows, x.cols) && x.cols % groups == 0,
         "group_moments: %lld channels, %d groups", (long long)x.cols, groups);
}

static void dry_copy_rows(struct device *dev, struct tensor y, struct tensor x) {
  expect(dev, is_activation(y, x.rows, x.cols) && is_activation(x, y.rows, y.cols), "copy");
}

static void dry_clear(struct device *dev, struct tensor y) {
  expect(dev, is_activation(y, y.rows, y.cols), "clear");
}

static void dry_add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
  expect(dev, is_activation(y, a.rows, a.cols) && is_activation(a, y.rows, y.cols), "add");
  expect(dev, is_activation(b, b.rows == 1 ? 1 : a.rows, a.cols), "add: [%lld, %lld] + [%lld, %lld]", (long long)a.rows,
         (long long)a.cols, (long long)b.rows, (long long)b.cols);
}

static void dry_gather_rows(struct device *dev, struct tensor y, struct tensor x, const int32_t *index,
                            const float *fill) {
  (void)index, (void)fill;
  expect(dev, is_activation(y, y.rows, x.cols), "gather_rows: %lld of %lld columns", (long long)y.cols,
         (long long)x.cols);
}

static void dry_mean_rows(struct device *dev, struct tensor y, struct tensor x) {
  expect(dev, is_activation(y, 1, x.cols) && is_activation(x, x.rows, y.cols), "mean_rows");
}

static void dry_conv3x3(struct device *dev, struct tensor y, struct tensor x, const struct tensor *coarse, int h, int w,
                        int first_row, const struct conv3x3 *conv) {
  int64_t pixels = (int64_t)h * w, last = (int64_t)first_row * w + y.rows;
  expect(dev, is_activation(x, pixels, x.cols) && is_activation(y, y.rows, conv->w.rows), "conv3x3: the grid");
  expect(dev, y.rows % w == 0 && first_row >= 0 && last <= pixels, "conv3x3: %lld pixels from row %d on of %d x %d",
         (long long)y.rows, first_row, h, w);
  expect(dev, conv->w.cols == 9 * x.cols, "conv3x3: %lld channels, weights of %lld", (long long)x.cols,
         (long long)conv->w.cols);
  expect(dev, !coarse || (h % 2 == 0 && w % 2 == 0 && is_activation(*coarse, pixels / 4, x.cols)),
         "conv3x3: the coarse grid");
  count(dev, 2.0 * (double)y.rows * (double)conv->w.rows * (double)conv->w.cols);
}

static void dry_deconv2x2(struct device *dev, struct tensor y, struct tensor x, int h, int w,
                          const struct deconv2x2 *deconv, enum activation act) {
  (void)act;
  expect(dev, is_activation(x, (int64_t)h * w, deconv->in), "deconv2x2: input");
  expect(dev, is_activation(y, 4 * (int64_t)h * w, deconv->out), "deconv2x2: output");
  count(dev, 8.0 * h * w * deconv->in * deconv->out);
}

static void dry_patchify(struct device *dev, struct tensor y, const uint8_t *image, int size, int patch,
                         const int32_t *index) {
  (void)image, (void)size, (void)index;
  expect(dev, is_activation(y, y.rows, 3 * (int64_t)patch * patch), "patchify");
}

static void dry_roi_align(struct device *dev, struct tensor y, struct tensor x, int h, int w, const float *boxes,
                          int out) {
  (void)boxes;
  expect(dev, is_activation(x, (int64_t)h * w, x.cols) && is_activation(y, y.rows, x.cols * out * out), "roi_align");
}

static void dry_sine_boxes(struct device *dev, struct tensor y, const float *boxes) {
  (void)boxes;
  expect(dev, is_activation(y, y.rows, y.cols) && y.cols % 8 == 0, "sine_boxes: %lld columns", (long long)y.cols);
}

static void dry_box_distances(struct device *dev, struct tensor y, const float *boxes, int axis, int count) {
  (void)boxes, (void)axis;
  expect(dev, is_activation(y, y.rows, 2) && count > 0 && y.rows % count == 0, "box_distances");
}

static void dry_refine_boxes(struct device *dev, float *boxes, struct tensor delta) {
  (void)boxes;
  expect(dev, is_activation(delta, delta.rows, 4), "refine_boxes");
}

static void dry_transfer(struct device *dev, void *to, const void *from, size_t size) {
  (void)dev, (void)to, (void)from, (void)size;
}

static sam3_status dry_sync(struct device *dev, struct sam3_error *err) {
  const struct dry_device *dry = (const struct dry_device *)dev;
  if (err && dry->error.status != SAM3_OK)
    *err = dry->error;
  return dry->error.status;
}

void device_dry_init(struct dry_device *dry) {
  static const struct device_ops ops = {
      .name = "dry",
      .upload = dry_transfer,
      .download = dry_transfer,
      .sync = dry_sync,
      .linear = dry_linear,
      .attention = dry_attention,
      .layer_norm = dry_layer_norm,
      .group_norm_relu = dry_group_norm_relu,
      .group_moments = dry_group_moments,
      .copy = dry_copy_rows,
      .clear = dry_clear,
      .add = dry_add,
      .gather_rows = dry_gather_rows,
      .mean_rows = dry_mean_rows,
      .conv3x3 = dry_conv3x3,
      .deconv2x2 = dry_deconv2x2,
      .patchify = dry_patchify,
      .roi_align = dry_roi_align,
      .sine_boxes = dry_sine_boxes,
      .box_distances = dry_box_distances,
      .refine_boxes = dry_refine_boxes,
  };
  *dry = (struct dry_device){.device = {.ops = &ops, .name = "dry"}};
}
