#include "image/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* The arithmetic is that of PyTorch's uint8 kernel (aten/src/ATen/native/cpu/UpSampleKernel.cpp): triangle weights
 * in fixed point, the width first, rounded to uint8, then the height; an axis of equal size is left alone. */

/* An axis: output i is the sum over k < taps of weights[i * taps + k] * input[first[i] + k], all in the input. */
struct axis {
  int taps;
  int precision; /* bits after the weights' binary point */
  int *first;
  int16_t *weights;
};

static void axis_free(struct axis *axis) {
  free(axis->first);
  free(axis->weights);
}

/* The weights of output `i` in double, normalised; returns how many, from `*first`. */
static int triangle(int i, int in, double scale, double *weights, int *first) {
  double support = fmax(scale, 1), center = scale * (i + 0.5);
  int low = (int)(center - support + 0.5), high = (int)(center + support + 0.5);
  if (low < 0)
    low = 0;
  if (high > in)
    high = in;
  double sum = 0;
  for (int k = 0; k < high - low; k++) {
    double distance = fabs((k + (low - center) + 0.5) * (1 / support));
    weights[k] = distance < 1 ? 1 - distance : 0;
    sum += weights[k];
  }
  for (int k = 0; k < high - low; k++)
    weights[k] /= sum;
  *first = low;
  return high - low;
}

static sam3_status axis_create(struct axis *axis, int in, int out, struct sam3_error *err) {
  double scale = (double)in / out;
  int taps = 2 * (int)ceil(fmax(scale, 1)) + 1;
  if (taps > in)
    taps = in;
  *axis = (struct axis){.taps = taps};
  axis->first = mem_zeroed((size_t)out, sizeof *axis->first);
  axis->weights = mem_zeroed((size_t)out * (size_t)taps, sizeof *axis->weights);
  double *exact = mem_zeroed((size_t)out * (size_t)taps, sizeof *exact);
  if (!axis->first || !axis->weights || !exact) {
    free(exact);
    return fail_memory(err, (size_t)out * (size_t)taps * sizeof *exact, "resize weights");
  }
  double largest = 0;
  for (int i = 0; i < out; i++) {
    double *row = exact + (size_t)i * taps;
    int n = triangle(i, in, scale, row, &axis->first[i]);
    for (int k = 0; k < n; k++)
      largest = fmax(largest, row[k]);
    /* All taps lie in the input: where there are fewer, the row begins earlier with zeros. */
    int shift = axis->first[i] + taps - in;
    if (shift > 0) {
      memmove(row + shift, row, (size_t)n * sizeof *row);
      memset(row, 0, (size_t)shift * sizeof *row);
      axis->first[i] -= shift;
    }
  }
  while (axis->precision < 22 && (int)(0.5 + largest * (1 << (axis->precision + 1))) < 1 << 15)
    axis->precision++;
  for (size_t i = 0; i < (size_t)out * (size_t)taps; i++)
    axis->weights[i] = (int16_t)(0.5 + exact[i] * (1 << axis->precision));
  free(exact);
  return SAM3_OK;
}

/* The kernels are compiled twice where the loader can choose: SSE2 lacks the 32-bit product. GCC's thread sanitizer is
 * not ready yet when the loader asks. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_THREAD__)
#define VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define VECTOR_CLONES
#endif

typedef int32_t lanes __attribute__((vector_size(16)));
typedef int16_t halves __attribute__((vector_size(16)));
typedef uint8_t octets __attribute__((vector_size(16)));

/* Four bytes, one a lane. Interleaving with zeros is an instruction everywhere; compilers do not find it behind a
 * conversion of 4-byte vectors. */
static inline lanes load_lanes(const uint8_t *p) {
  uint32_t four;
  memcpy(&four, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "resize.c: the lanes of load_lanes() are for little-endian machines"
#endif
  octets packed = (octets)(lanes){(int32_t)four};
  halves wide =
      (halves)__builtin_shufflevector(packed, (octets){}, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  return (lanes)__builtin_shufflevector(wide, (halves){}, 0, 8, 1, 9, 2, 10, 3, 11);
}

/* A row of RGB pixels, read with one byte beyond its last (IMAGE_PADDING). */
VECTOR_CLONES
static void resize_row(const struct axis *axis, const uint8_t *row, int out, uint8_t *resized) {
  for (int i = 0; i < out; i++) {
    const uint8_t *in = row + 3 * (size_t)axis->first[i];
    const int16_t *weights = axis->weights + (size_t)i * axis->taps;
    lanes sum = (lanes){} + (1 << (axis->precision - 1));
    for (int k = 0; k < axis->taps; k++)
      sum += load_lanes(in + 3 * k) * (int32_t)weights[k];
    lanes value = sum >> axis->precision;
    value |= value > 255; /* all ones: 255 in the low byte; no weight is negative */
    for (int c = 0; c < 3; c++)
      resized[3 * i + c] = (uint8_t)value[c];
  }
}

/* `stride` bytes of output from axis->taps rows of as many. */
VECTOR_CLONES
static void blend_rows(const uint8_t *rows, size_t stride, const int16_t *weights, const struct axis *axis,
                       uint8_t *out) {
  enum { BLOCK = 64 };
  for (size_t begin = 0; begin < stride; begin += BLOCK) {
    size_t n = stride - begin < BLOCK ? stride - begin : BLOCK;
    int32_t sums[BLOCK];
    for (size_t x = 0; x < n; x++)
      sums[x] = 1 << (axis->precision - 1);
    for (int k = 0; k < axis->taps; k++) {
      const uint8_t *in = rows + (size_t)k * stride + begin;
      int32_t weight = weights[k];
      for (size_t x = 0; x < n; x++)
        sums[x] += in[x] * weight;
    }
    for (size_t x = 0; x < n; x++) {
      int32_t value = sums[x] >> axis->precision;
      out[begin + x] = (uint8_t)(value > 255 ? 255 : value);
    }
  }
}

/* [height, width, 3] to [height, size, 3]. */
static sam3_status resize_width(const sam3_image *image, int size, uint8_t *out, struct sam3_error *err) {
  struct axis axis;
  sam3_status status = axis_create(&axis, image->width, size, err);
  if (status == SAM3_OK)
    for (size_t y = 0; y < (size_t)image->height; y++)
      resize_row(&axis, image->pixels + y * 3 * (size_t)image->width, size, out + y * 3 * (size_t)size);
  axis_free(&axis);
  return status;
}

/* [height, size, 3] to [size, size, 3]. */
static sam3_status resize_height(const uint8_t *rows, int height, int size, uint8_t *out, struct sam3_error *err) {
  struct axis axis;
  size_t stride = 3 * (size_t)size;
  sam3_status status = axis_create(&axis, height, size, err);
  if (status == SAM3_OK)
    for (size_t y = 0; y < (size_t)size; y++)
      blend_rows(rows + (size_t)axis.first[y] * stride, stride, axis.weights + y * (size_t)axis.taps, &axis,
                 out + y * stride);
  axis_free(&axis);
  return status;
}

sam3_status resize_square(const sam3_image *image, int size, uint8_t *out, struct sam3_error *err) {
  if (size < 1 || size > 65536)
    return fail(err, SAM3_ERR_ARGUMENT, "an image cannot be resized to %d x %d", size, size);
  if (image->width == size && image->height == size) {
    memcpy(out, image->pixels, (size_t)size * (size_t)size * 3);
    return SAM3_OK;
  }
  if (image->width == size)
    return resize_height(image->pixels, image->height, size, out, err);
  if (image->height == size)
    return resize_width(image, size, out, err);
  size_t bytes = (size_t)image->height * (size_t)size * 3;
  uint8_t *rows = mem_alloc(bytes);
  if (!rows)
    return fail_memory(err, bytes, "the resized image");
  sam3_status status = resize_width(image, size, rows, err);
  if (status == SAM3_OK)
    status = resize_height(rows, image->height, size, out, err);
  free(rows);
  return status;
}
