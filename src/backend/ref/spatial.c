/* Operators that know the grid, and those on boxes, in plain C. */
#include <math.h>

#include "backend/ref/ref.h"

/* Output channel n of the convolution at (row, col); outside of the grid is 0. */
static float convolve(const struct device *dev, struct tensor x, const struct tensor *coarse, int h, int w, int row,
                      int col, const struct conv3x3 *conv, int64_t n) {
  double sum = conv->b ? conv->b[n] : 0;
  for (int tap = 0; tap < 9; tap++) {
    int y = row + tap / 3 - 1, x_at = col + tap % 3 - 1;
    if (y < 0 || y >= h || x_at < 0 || x_at >= w)
      continue;
    const float *in = tensor_row(x, (int64_t)y * w + x_at);
    const float *under = coarse ? tensor_row(*coarse, (int64_t)(y / 2) * (w / 2) + x_at / 2) : NULL;
    for (int64_t c = 0; c < x.cols; c++)
      sum +=
          (double)(under ? in[c] + under[c] : in[c]) * round_to_dtype(tensor_at(conv->w, n, 9 * c + tap), dev->dtype);
  }
  return (float)sum;
}

void ref_conv3x3(struct device *dev, struct tensor y, struct tensor x, const struct tensor *coarse, int h, int w,
                 int first_row, const struct conv3x3 *conv) {
  for (int64_t r = 0; r < y.rows; r++)
    for (int64_t n = 0; n < y.cols; n++)
      tensor_row(y, r)[n] = convolve(dev, x, coarse, h, w, first_row + (int)(r / w), (int)(r % w), conv, n);
}

void ref_deconv2x2(struct device *dev, struct tensor y, struct tensor x, int h, int w, const struct deconv2x2 *deconv,
                   enum activation act) {
  for (int tap = 0; tap < 4; tap++) { /* tap (ky, kx) makes the output pixels (2 row + ky, 2 col + kx) */
    struct linear lin = {.w = {(void *)(deconv->w + (int64_t)tap * deconv->out * deconv->in), SAM3_F32, deconv->out,
                               deconv->in, deconv->in},
                         .b = deconv->b};
    for (int row = 0; row < h; row++) {
      for (int col = 0; col < w; col++) {
        struct tensor in = x, out = y;
        in.data = tensor_row(x, (int64_t)row * w + col);
        out.data = tensor_row(y, (2 * row + tap / 2) * 2 * (int64_t)w + 2 * col + tap % 2);
        in.rows = out.rows = 1;
        ref_linear(dev, out, in, &lin, act, NULL);
      }
    }
  }
}

void ref_patchify(struct device *dev, struct tensor y, const uint8_t *image, int size, int patch,
                  const int32_t *index) {
  (void)dev;
  int grid = size / patch;
  for (int64_t r = 0; r < y.rows; r++) {
    const uint8_t *corner = image + ((int64_t)(index[r] / grid) * size + index[r] % grid) * patch * 3;
    float *out = tensor_row(y, r);
    for (int colour = 0; colour < 3; colour++)
      for (int row = 0; row < patch; row++)
        for (int col = 0; col < patch; col++)
          *out++ = ((float)corner[((int64_t)row * size + col) * 3 + colour] / 255.0f - 0.5f) / 0.5f;
  }
}

/* x [h * w] of one channel at the point (py, px), bilinear; 0 outside of [-1, h] × [-1, w]. */
static float sample(struct tensor x, int h, int w, int64_t channel, float py, float px) {
  if (!(py >= -1 && py <= (float)h && px >= -1 && px <= (float)w))
    return 0;
  py = py > 0 ? py : 0;
  px = px > 0 ? px : 0;
  int y0 = (int)py, x0 = (int)px;
  if (y0 >= h - 1)
    py = (float)(y0 = h - 1);
  if (x0 >= w - 1)
    px = (float)(x0 = w - 1);
  int y1 = y0 < h - 1 ? y0 + 1 : y0, x1 = x0 < w - 1 ? x0 + 1 : x0;
  float ly = py - (float)y0, lx = px - (float)x0;
  return (1 - ly) * (1 - lx) * tensor_at(x, (int64_t)y0 * w + x0, channel) +
         (1 - ly) * lx * tensor_at(x, (int64_t)y0 * w + x1, channel) +
         ly * (1 - lx) * tensor_at(x, (int64_t)y1 * w + x0, channel) +
         ly * lx * tensor_at(x, (int64_t)y1 * w + x1, channel);
}

/* The mean of the samples of bin (by, bx) of a box, n bins to a side. */
static float roi_bin(struct tensor x, int h, int w, int64_t channel, const float *box, int n, int by, int bx) {
  float height = fmaxf(box[3] - box[1], 1), width = fmaxf(box[2] - box[0], 1);
  float bin_h = height / (float)n, bin_w = width / (float)n;
  int rows = (int)ceilf(bin_h), cols = (int)ceilf(bin_w);
  double sum = 0;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < cols; j++)
      sum += sample(x, h, w, channel, box[1] + (float)by * bin_h + ((float)i + 0.5f) * bin_h / (float)rows,
                    box[0] + (float)bx * bin_w + ((float)j + 0.5f) * bin_w / (float)cols);
  return (float)(sum / ((double)rows * cols));
}

void ref_roi_align(struct device *dev, struct tensor y, struct tensor x, int h, int w, const float *boxes, int out) {
  (void)dev;
  for (int64_t i = 0; i < y.rows; i++)
    for (int64_t c = 0; c < x.cols; c++)
      for (int by = 0; by < out; by++)
        for (int bx = 0; bx < out; bx++)
          tensor_row(y, i)[(c * out + by) * out + bx] = roi_bin(x, h, w, c, boxes + 4 * i, out, by, bx);
}

void ref_sine_boxes(struct device *dev, struct tensor y, const float *boxes) {
  (void)dev;
  static const int order[4] = {1, 0, 2, 3}; /* cy, cx, w, h */
  int64_t features = y.cols / 4;
  for (int64_t r = 0; r < y.rows; r++) {
    for (int part = 0; part < 4; part++) {
      float position = boxes[4 * r + order[part]] * (float)(2 * M_PI);
      for (int64_t f = 0; f < features; f++) {
        float angle = position / powf(10000.0f, (float)(f / 2 * 2) / (float)features);
        tensor_row(y, r)[part * features + f] = f & 1 ? cosf(angle) : sinf(angle);
      }
    }
  }
}

void ref_box_distances(struct device *dev, struct tensor y, const float *boxes, int axis, int count) {
  (void)dev;
  for (int64_t r = 0; r < y.rows; r++) {
    const float *box = boxes + 4 * (r / count);
    float half = 0.5f * box[2 + axis], at = (float)(r % count) / (float)count;
    for (int side = 0; side < 2; side++) {
      float d = 8 * (at - (side ? box[axis] + half : box[axis] - half));
      tensor_row(y, r)[side] = copysignf(log2f(fabsf(d) + 1) / 3, d);
    }
  }
}

static float inverse_sigmoid(float p) {
  p = fminf(fmaxf(p, 0), 1);
  return logf(fmaxf(p, 1e-3f) / fmaxf(1 - p, 1e-3f));
}

void ref_refine_boxes(struct device *dev, float *boxes, struct tensor delta) {
  (void)dev;
  for (int64_t r = 0; r < delta.rows; r++)
    for (int64_t c = 0; c < 4; c++)
      boxes[4 * r + c] = 1 / (1 + expf(-(inverse_sigmoid(boxes[4 * r + c]) + tensor_at(delta, r, c))));
}
