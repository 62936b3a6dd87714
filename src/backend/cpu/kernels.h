/* What the files of one variant share: packing, and the vector functions. */
#ifndef SAM3_BACKEND_CPU_KERNELS_H
#define SAM3_BACKEND_CPU_KERNELS_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/micro.h"

static inline int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static inline int64_t div_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
static inline int64_t round_up(int64_t a, int64_t b) {
  return div_up(a, b) * b;
}

/* Turns NR rows of `k` packed floats into B's layout: to[p * NR + j] = from[j][p]. */
void V(pack_columns)(float *to, const float *const from[], int64_t k);

/* n elements of `from`, starting at element `offset`, as float; rounded to `round` unless that is SAM3_F32. */
void V(to_floats)(float *to, const struct tensor *from, int64_t offset, int64_t n, sam3_dtype round);

#ifdef PAIRS
/* The 2 VL values of two vectors, rounded. */
static inline vf vpair(vf low, vf high) {
  return (vf)_mm512_cvtne2ps_pbh(high, low);
}
/* Its values again. */
static inline vf vlow_half(vf pair) {
  __m256i half = _mm512_castsi512_si256((__m512i)pair);
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
}
static inline vf vhigh_half(vf pair) {
  __m256i half = _mm512_extracti64x4_epi64((__m512i)pair, 1);
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
}
/* The values of two vectors side by side: those of `even` are the first of each pair. */
static inline vf vpair_rows(vf even, vf odd) {
  __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
  __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
  return (vf)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* n values from `from`, and zeros up to 2 * count, as `count` pairs for each part. May be in place when there is one.
 */
static inline void pack_row(float *to, const float *from, int64_t n, int64_t count) {
  for (int64_t p = 0; p < count; p += VL) {
    vf low = vload_part(from + 2 * p, n - 2 * p), high = vload_part(from + 2 * p + VL, n - 2 * p - VL);
    for (int part = 0; part < PARTS; part++) {
      vf pair = vpair(low, high);
      vstore_part(to + part * count + p, pair, count - p);
      low -= vlow_half(pair);
      high -= vhigh_half(pair);
    }
  }
}
#endif

/* Activation and 2^x, vectorised; errors about 1e-7 (of 1 for erf, relative for exp2). */
static inline vf verf(vf x) {
  /* x P(x²) / Q(x²), fitted for the least largest error on |x| < 3.95, where erf has reached 1 in float. */
  x = vmin(vmax(x, vset(-3.95f)), vset(3.95f));
  vf z = x * x;
  vf p = z * 1.96040416e-08f + -1.95138385e-06f;
  p = p * z + 0.000143902339f;
  p = p * z + 0.00381137074f;
  p = p * z + 0.0509339907f;
  p = p * z + 0.202663335f;
  p = p * z + 1.1283791f;
  vf q = z * 0.000980732602f + 0.0145827258f;
  q = q * z + 0.116127875f;
  q = q * z + 0.512937179f;
  q = q * z + 1.0f;
  return x * p / q;
}

static inline vf vactivate(vf v, enum activation act) {
  if (act == ACT_RELU)
    return vmax(v, (vf){0});
  if (act == ACT_GELU)
    return 0.5f * v * (1.0f + verf(v * 0.70710678f));
  return v;
}

/* 2^x for x <= 0, NaN stays: 2^(x - round(x)) by a polynomial, the rest into the exponent. Below -100 it is 2^-100, for
 * products with less may be subnormal, and these take a hundred times as long. */
static inline vf vexp2(vf x) {
  const vf magic = vset(0x1.8p23f); /* adding it leaves the rounded integer in the low bits */
  x = vmax(x, vset(-100.0f));
  vf shifted = x + magic;
  vf f = x - (shifted - magic);
  vf p = f * 0.00132764719f + 0.00967554151f;
  p = p * f + 0.0555071328f;
  p = p * f + 0.240221197f;
  p = p * f + 0.693146967f;
  p = p * f + 1.00000007f;
  return (vf)((vi)p + ((vi)shifted << 23));
}

/* ---- the operators of this variant ---- */
struct product {
  int64_t m, n, k;
  const float *x; /* [m, k] */
  int64_t x_stride;
  struct tensor w; /* [n, k] */
  const float *b;  /* [n] or NULL */
  enum activation act;
  const float *residual; /* [m, n] or NULL; may be y */
  int64_t residual_stride;
  float *y; /* [m, n] */
  int64_t y_stride;
  /* With a grid (else 0), row r of y, at (r / grid_w, r % grid_w), goes to row 2 (r / grid_w) + tap / 2, column
   * 2 (r % grid_w) + tap % 2 of a grid of twice the size. */
  int64_t grid_w;
  int tap;
};

/* y = act(x wᵀ + b) + residual. */
void V(product)(struct cpu_device *cpu, const struct product *prod);
#if PARTS == 3
void product_avx512(struct cpu_device *cpu, const struct product *prod);
#endif

/* The same for at most FEW_ROWS rows: no packing. */
enum { FEW_ROWS = 40 };
void V(product_few_rows)(struct cpu_device *cpu, const struct product *prod);

/* len floats of row `row` of w from column k0, converted and rounded; zeros outside. Uses `buffer` unless the floats
 * can be read in place. */
const float *V(w_row)(const struct product *prod, sam3_dtype round, int64_t row, int64_t k0, int64_t len,
                      float *buffer);

/* Writes `cols` sums of a row to columns n0 and on of y: with bias, activation and residual, or, unless `first`, added
 * to what is there. */
void V(write_row)(const struct product *prod, int64_t row, int64_t n0, int64_t cols, const float *sums, bool first);

void V(linear)(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin, enum activation act,
               const struct tensor *residual);
void V(deconv2x2)(struct device *dev, struct tensor y, struct tensor x, int h, int w, const struct deconv2x2 *deconv,
                  enum activation act);
void V(attention)(struct device *dev, const struct attention *att);
double V(measure_peak)(struct device *dev);
void V(install_rows)(struct device_ops *ops);
void V(install_conv)(struct device_ops *ops);

#endif
