/* The one seam between the network and the hardware: a device and its table of operators.
 *
 * Every activation is a matrix: rows are tokens or pixels (row-major over the grid), columns are channels. The network
 * (src/model) is written once over this table. ref/ implements every operator in plain C and is the specification; cpu/
 * starts from its table and overrides; dry.c runs nothing and checks every shape.
 *
 * One thread owns a device at a time. Operators cannot fail in a way that the caller must handle at once: a device that
 * can fail (a GPU) keeps its first error and reports it from sync(). Shapes are the caller's duty; the dry run that
 * sizes the arena proves them once for a model.
 *
 * Unless an operator says otherwise its inputs and outputs do not overlap, and activations are SAM3_F32. An operator
 * whose output has no rows or no columns does nothing: a part of a split may be empty. */
#ifndef SAM3_BACKEND_DEVICE_H
#define SAM3_BACKEND_DEVICE_H

#include "sam3.h"

/* A view: data[row * stride + col], in elements of dtype. */
struct tensor {
  void *data;
  sam3_dtype dtype;
  int64_t rows, cols, stride;
};

/* y = x wᵀ + b. w [out, in] in the checkpoint's dtype, used in place; b float [out] or NULL. */
struct linear {
  struct tensor w;
  const float *b;
};

/* LayerNorm and GroupNorm: gain and bias float [channels]. */
struct norm {
  const float *gain, *bias;
  float eps;
};

/* 3 × 3 convolution, stride 1, zero padding 1. w [out, in * 9] as stored: out, in, ky, kx. */
struct conv3x3 {
  struct tensor w;
  const float *b; /* float [out] or NULL */
  void *prepared; /* the device's own form of w, set by conv3x3_prepare */
};

/* Transposed convolution, kernel 2, stride 2. w float [2 (ky), 2 (kx), out, in]; b float [out] or NULL. */
struct deconv2x2 {
  const float *w, *b;
  int in, out;
};

enum activation { ACT_NONE, ACT_RELU, ACT_GELU }; /* GELU by erf */

/* out = softmax(scale · q kᵀ + bias) v, for each batch and head on its own.
 * q and out [batch * nq, heads * dim], k and v [batch * nk, heads * dim]. */
struct attention {
  struct tensor q, k, v, out;
  int batch, heads;
  float scale;
  bool causal; /* key j is seen by query i when j <= i */
  /* Rotary table, or NULL: float [nk, dim / 2]. The pair (2i, 2i + 1) of row r of k, and of row r - first_query of q,
   * turns by the angle whose cosine and sine stand in column i of row r. Needs nq == nk or batch == 1. */
  const float *rope_cos, *rope_sin;
  int64_t first_query;
  /* Separable bias over a grid of keys (nk == grid_h * grid_w), or NULL. Key (y, x), query i and head h get
   * bias_y[(i * grid_h + y) * heads + h] + bias_x[(i * grid_w + x) * heads + h]; needs batch == 1. */
  const float *bias_y, *bias_x;
  int grid_h, grid_w;
};

struct device;

struct device_ops {
  const char *name;

  /* ---- memory ---- */
  /* 64-byte aligned; NULL when there is none. `size` is given again at free. */
  void *(*alloc)(struct device *dev, size_t size);
  void (*free)(struct device *dev, void *block, size_t size);
  void (*upload)(struct device *dev, void *to, const void *from, size_t size);
  void (*download)(struct device *dev, void *to, const void *from, size_t size);
  /* Waits for everything asked for; returns the first error since the last call. */
  sam3_status (*sync)(struct device *dev, struct sam3_error *err);
  void (*close)(struct device *dev);
  /* The calling thread works for this device and no other from now on. The thread that owns a device and belongs to the
   * application need not say so. */
  void (*bind_thread)(struct device *dev);

  /* Floating-point operations per second that a loop of multiply-adds reaches on all threads; 0: not known. */
  double (*measure_peak)(struct device *dev);

  /* ---- preparation, when a session opens ---- */
  /* Bytes that conv3x3_prepare will take for a convolution of this size. */
  size_t (*conv3x3_prepared_size)(const struct device *dev, int out, int in);
  sam3_status (*conv3x3_prepare)(struct device *dev, struct conv3x3 *conv, struct sam3_error *err);
  void (*conv3x3_release)(struct device *dev, struct conv3x3 *conv);

  /* ---- operators ---- */
  /* y [m, out] = act(x [m, in] · wᵀ + b) + residual [m, out] (NULL: none; may be y itself). */
  void (*linear)(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin, enum activation act,
                 const struct tensor *residual);
  void (*attention)(struct device *dev, const struct attention *att);
  /* y [m, c] = (x - mean) / sqrt(variance + eps) * gain + bias over each row; y may be x. */
  void (*layer_norm)(struct device *dev, struct tensor y, struct tensor x, const struct norm *norm);
  /* The same over each group of c / groups columns and all rows, then max(0, ·); y may be x. `moments` [n, 1 + 2
   * groups], or NULL: x is one of n blocks of rows that are normed together, whose group_moments these are. */
  void (*group_norm_relu)(struct device *dev, struct tensor y, struct tensor x, int groups, const struct norm *norm,
                          const struct tensor *moments);
  /* y [1, 1 + 2 groups] = the number of rows of x, the mean of each group, the variance of each group; without rows 0.
   */
  void (*group_moments)(struct device *dev, struct tensor y, struct tensor x, int groups);
  /* y = x, both [m, c]. */
  void (*copy)(struct device *dev, struct tensor y, struct tensor x);
  /* y = 0. */
  void (*clear)(struct device *dev, struct tensor y);
  /* y = a + b, all [m, c]; y may be a or b. b.rows == 1: the row is added to every row of a. */
  void (*add)(struct device *dev, struct tensor y, struct tensor a, struct tensor b);
  /* y [m, c] (float) = row index[i] of x (any dtype) for each row i; where index[i] < 0, `fill` (float [c]; NULL: 0).
   */
  void (*gather_rows)(struct device *dev, struct tensor y, struct tensor x, const int32_t *index, const float *fill);
  /* y [1, c] = the mean of the rows of x. */
  void (*mean_rows)(struct device *dev, struct tensor y, struct tensor x);
  /* y [n * w, out] = rows first_row .. first_row + n - 1 of conv(x [h * w, in] + coarse [h/2 * w/2, in] repeated 2 × 2
   * (nearest)); coarse may be NULL. */
  void (*conv3x3)(struct device *dev, struct tensor y, struct tensor x, const struct tensor *coarse, int h, int w,
                  int first_row, const struct conv3x3 *conv);
  /* y [2h * 2w, out] = act(deconv(x [h * w, in])). */
  void (*deconv2x2)(struct device *dev, struct tensor y, struct tensor x, int h, int w, const struct deconv2x2 *deconv,
                    enum activation act);
  /* y [n, 3 * patch * patch]: patch index[i] (row-major over the grid) of the image uint8 [size, size, 3] as
   * (v / 255 - 0.5) / 0.5, in the order colour, row, column. */
  void (*patchify)(struct device *dev, struct tensor y, const uint8_t *image, int size, int patch,
                   const int32_t *index);
  /* y [n, c * out * out] (order channel, row, column) = RoIAlign of boxes float [n, 4] (x0, y0, x1, y1 in cells) on
   * x [h * w, c], as torchvision.ops.roi_align with aligned = False and adaptive sampling. */
  void (*roi_align)(struct device *dev, struct tensor y, struct tensor x, int h, int w, const float *boxes, int out);
  /* y [n, 4 * f] = sine embedding of boxes float [n, 4] (cx, cy, w, h in 0..1), f features each of cy, cx, w, h in that
   * order: sin and cos in turn of 2π v / 10000^(2 ⌊i / 2⌋ / f). */
  void (*sine_boxes)(struct device *dev, struct tensor y, const float *boxes);
  /* y [n * count, 2]: for box i and cell j the signed log distances to the box's low and high edge along an axis (0: x,
   * 1: y): sign(d) log2(|d| + 1) / 3 with d = 8 (j / count - edge). boxes float [n, 4] as in sine_boxes. */
  void (*box_distances)(struct device *dev, struct tensor y, const float *boxes, int axis, int count);
  /* boxes float [n, 4] = sigmoid(inverse_sigmoid(boxes) + delta [n, 4]); the inverse clamps at 1e-3. */
  void (*refine_boxes)(struct device *dev, float *boxes, struct tensor delta);
};

struct device {
  const struct device_ops *ops;
  char name[64];    /* "cpu:0-3" */
  sam3_dtype dtype; /* of products */
  int threads;
  size_t workspace; /* bytes that the device took for itself */
};

/* Opens "ref", "cpu" (all cores that this process may use), "cpu:N" or "cpu:A-B". Where the
 * hardware has no products of `dtype`, the device's dtype is SAM3_F32: rounding would cost accuracy and gain nothing.
 * Close with device_close. */
sam3_status device_open(const char *name, sam3_dtype dtype, struct device **dev, struct sam3_error *err);
void device_close(struct device *dev);

/* A device that computes nothing: every operator only checks its shapes; sync() reports the first that was wrong. */
struct dry_device {
  struct device device;
  double flops; /* multiplications and additions of what was asked for, computed as defined (convolutions directly) */
  struct sam3_error error;
};
void device_dry_init(struct dry_device *dry);

/* The plain C table. */
extern const struct device_ops ref_ops;

static inline size_t dtype_size(sam3_dtype dtype) {
  return dtype == SAM3_F32 ? 4 : 2;
}

#endif
