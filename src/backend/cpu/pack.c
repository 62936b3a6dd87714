/* Packing: from rows as they lie in memory to what the micro-kernel reads. */
#include "backend/cpu/kernels.h"
#include "base/half.h"

#define SHUFFLE __builtin_shufflevector

/* Stages of a transposition within lanes of 4 floats, and of lanes. */
#if VL == 4
#define LOW1(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define HIGH1(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define LOW2(a, b) SHUFFLE(a, b, 0, 1, 4, 5)
#define HIGH2(a, b) SHUFFLE(a, b, 2, 3, 6, 7)
#elif VL == 8
#define LOW1(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH1(a, b) SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW2(a, b) SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH2(a, b) SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define LOW4(a, b) SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HIGH4(a, b) SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#else
#define LOW1(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH1(a, b) SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW2(a, b) SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH2(a, b) SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
/* Lanes a0 b0 a2 b2 and a1 b1 a3 b3; then lanes 0 1 and 2 3 of both. */
#define LOW4(a, b) SHUFFLE(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
#define HIGH4(a, b) SHUFFLE(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
#define LOW8(a, b) SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define HIGH8(a, b) SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#endif

static inline __attribute__((always_inline)) void stage(vf r[VL], int step) {
  UNROLL
  for (int i = 0; i < VL; i++) {
    if (i & step)
      continue;
    vf a = r[i], b = r[i + step];
    switch (step) {
    case 1:
      r[i] = LOW1(a, b), r[i + step] = HIGH1(a, b);
      break;
    case 2:
      r[i] = LOW2(a, b), r[i + step] = HIGH2(a, b);
      break;
#if VL >= 8
    case 4:
      r[i] = LOW4(a, b), r[i + step] = HIGH4(a, b);
      break;
#endif
#if VL >= 16
    case 8:
      r[i] = LOW8(a, b), r[i + step] = HIGH8(a, b);
      break;
#endif
    }
  }
}

/* r[i][j] becomes r[j][i]. */
static inline __attribute__((always_inline)) void transpose(vf r[VL]) {
  stage(r, 1);
  stage(r, 2);
  UNROLL
  for (int i = 0; i < VL; i += 4) { /* in each four, the columns stand as 0 2 1 3 */
    vf swap = r[i + 1];
    r[i + 1] = r[i + 2];
    r[i + 2] = swap;
  }
#if VL >= 8
  stage(r, 4);
#endif
#if VL >= 16
  stage(r, 8);
#endif
}

void V(pack_columns)(float *to, const float *const from[], int64_t k) {
  int64_t p = 0;
  for (; p + VL <= k; p += VL) {
    for (int half = 0; half < 2; half++) {
      vf r[VL];
      UNROLL
      for (int j = 0; j < VL; j++)
        r[j] = vload(from[half * VL + j] + p);
      transpose(r);
      UNROLL
      for (int j = 0; j < VL; j++)
        vstore(to + (p + j) * NR + half * VL, r[j]);
    }
  }
  for (; p < k; p++)
    for (int j = 0; j < NR; j++)
      to[p * NR + j] = from[j][p];
}

/* As float_from_f16, without a branch, or the loop over it would be no vector loop: the exponent is corrected by a
 * product, exact for subnormals too; that of what is not finite is then set, and its fraction is right already. */
static inline float f16_to_float(uint16_t half) {
  uint32_t magnitude = half & 0x7fff, sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t finite = bits_from_float(float_from_bits(magnitude << 13) * 0x1p112f);
  uint32_t not_finite = magnitude >= 0x7c00 ? 0x7f800000 : 0;
  return float_from_bits(sign | finite | not_finite);
}

void V(to_floats)(float *to, const struct tensor *from, int64_t offset, int64_t n, sam3_dtype round) {
  if (from->dtype == SAM3_F32) {
    const float *f = (const float *)from->data + offset;
    for (int64_t i = 0; i < n; i++)
      to[i] = f[i];
  } else {
    const uint16_t *h = (const uint16_t *)from->data + offset;
    if (from->dtype == SAM3_BF16)
      for (int64_t i = 0; i < n; i++)
        to[i] = float_from_bf16(h[i]);
    else
      for (int64_t i = 0; i < n; i++)
        to[i] = f16_to_float(h[i]);
  }
  if (round == from->dtype || round == SAM3_F32)
    return;
  if (round == SAM3_BF16)
    for (int64_t i = 0; i < n; i++)
      to[i] = float_from_bf16(bf16_from_float(to[i]));
  else
    for (int64_t i = 0; i < n; i++)
      to[i] = float_from_f16(f16_from_float(to[i]));
}
