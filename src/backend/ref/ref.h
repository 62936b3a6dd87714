/* Plain C for every operator: the specification that other devices are checked against (tests/backend/opcheck.c). */
#ifndef SAM3_BACKEND_REF_H
#define SAM3_BACKEND_REF_H

#include "backend/device.h"
#include "base/half.h"

/* Element (row, col) of a tensor of any dtype, as float. */
static inline float tensor_at(struct tensor t, int64_t row, int64_t col) {
  int64_t i = row * t.stride + col;
  switch (t.dtype) {
  case SAM3_BF16:
    return float_from_bf16(((const uint16_t *)t.data)[i]);
  case SAM3_F16:
    return float_from_f16(((const uint16_t *)t.data)[i]);
  default:
    return ((const float *)t.data)[i];
  }
}

/* A weight as a device of `dtype` uses it: rounded to bf16 or f16 unless that is how it is stored. */
static inline float round_to_dtype(float value, sam3_dtype dtype) {
  switch (dtype) {
  case SAM3_BF16:
    return float_from_bf16(bf16_from_float(value));
  case SAM3_F16:
    return float_from_f16(f16_from_float(value));
  default:
    return value;
  }
}

static inline float *tensor_row(struct tensor t, int64_t row) {
  return (float *)t.data + row * t.stride;
}

void ref_linear(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin, enum activation act,
                const struct tensor *residual);
void ref_attention(struct device *dev, const struct attention *att);
void ref_layer_norm(struct device *dev, struct tensor y, struct tensor x, const struct norm *norm);
void ref_group_norm_relu(struct device *dev, struct tensor y, struct tensor x, int groups, const struct norm *norm,
                         const struct tensor *moments);
void ref_group_moments(struct device *dev, struct tensor y, struct tensor x, int groups);
void ref_copy(struct device *dev, struct tensor y, struct tensor x);
void ref_clear(struct device *dev, struct tensor y);
void ref_add(struct device *dev, struct tensor y, struct tensor a, struct tensor b);
void ref_gather_rows(struct device *dev, struct tensor y, struct tensor x, const int32_t *index, const float *fill);
void ref_mean_rows(struct device *dev, struct tensor y, struct tensor x);
void ref_conv3x3(struct device *dev, struct tensor y, struct tensor x, const struct tensor *coarse, int h, int w,
                 int first_row, const struct conv3x3 *conv);
void ref_deconv2x2(struct device *dev, struct tensor y, struct tensor x, int h, int w, const struct deconv2x2 *deconv,
                   enum activation act);
void ref_patchify(struct device *dev, struct tensor y, const uint8_t *image, int size, int patch, const int32_t *index);
void ref_roi_align(struct device *dev, struct tensor y, struct tensor x, int h, int w, const float *boxes, int out);
void ref_sine_boxes(struct device *dev, struct tensor y, const float *boxes);
void ref_box_distances(struct device *dev, struct tensor y, const float *boxes, int axis, int count);
void ref_refine_boxes(struct device *dev, float *boxes, struct tensor delta);

#endif
