/* What the files of one variant share: the register-blocked product at the bottom of everything, packing, and the
 * vector functions. */
#ifndef SAM3_BACKEND_CPU_KERNELS_H
#define SAM3_BACKEND_CPU_KERNELS_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/vec.h"

/* The micro-kernel keeps a tile of MR × NR sums in registers. A is read from MR rows of AP floats ("panel"), of which
 * at most AP are used; B from K rows of NR floats.
 *
 * With PAIRS it multiplies bf16: every float of A and B is then two of them, those of k = 2p and 2p + 1, and packed
 * sizes count pairs. Sums are float always. */
enum {
#if defined(__AMX_BF16__)
  MR = 32, /* four tile registers of 16 × 16 sums */
  STEP = 16,
#else
  MR = VL == 16 ? 12 : 6,
  STEP = 8, /* of p at a time: measured; 4 reaches 93 %, 8 reaches 99 % of the peak */
#endif
  NR = 2 * VL,
  AP = 256,
  LINE = 16, /* floats in a line of the cache */
#ifdef PAIRS
  PACKED = 2, /* values in a packed float */
#else
  PACKED = 1,
#endif
};

enum store { STORE_SET, STORE_ADD, STORE_SUB };

/* What is fetched into the second-level cache meanwhile, little by little: a burst would hold up the loads. With every
 * STEP of p, `lines` (a constant) lines from `b` on, and STEP floats from `a` on. */
struct ahead {
  const float *b, *a;
  int lines;
};

static inline __attribute__((always_inline)) void fetch_ahead(const struct ahead *ahead, int64_t p) {
  if (!ahead)
    return;
  __builtin_prefetch(ahead->a + p, 0, 2);
  UNROLL
  for (int i = 0; i < ahead->lines; i++)
    __builtin_prefetch(ahead->b + (p / STEP * ahead->lines + i) * LINE, 0, 2);
}

#if defined(__AMX_BF16__)

/* c (rows `stride` apart) becomes, or grows by, the sums over p < k of a[i * AP + p] * b[p * NR + j]; k is a multiple
 * of STEP: who packs fills up with zeros. `ahead` may be NULL. */
static inline __attribute__((always_inline)) void micro_tile(const float *a, const float *b, int64_t k, float *c,
                                                             int64_t stride, enum store store,
                                                             const struct ahead *ahead) {
  const int a_bytes = AP * 4, b_bytes = NR * 4;
  float *c1 = c + 16 * stride;
  if (store == STORE_SET) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, c, stride * 4);
    _tile_loadd(1, c + 16, stride * 4);
    _tile_loadd(2, c1, stride * 4);
    _tile_loadd(3, c1 + 16, stride * 4);
  }
  for (int64_t p = 0; p < k; p += STEP) {
    _tile_loadd(4, a + p, a_bytes);
    _tile_loadd(6, b + p * NR, b_bytes);
    _tile_loadd(7, b + p * NR + 16, b_bytes);
    _tile_loadd(5, a + p + 16 * AP, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    fetch_ahead(ahead, p);
  }
  _tile_stored(0, c, stride * 4);
  _tile_stored(1, c + 16, stride * 4);
  _tile_stored(2, c1, stride * 4);
  _tile_stored(3, c1 + 16, stride * 4);
}

/* A thread says when it is about to use the tile registers, and when it has. */
static inline void micro_begin(void) {
  static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&config);
}
static inline void micro_end(void) {
  _tile_release();
}

#else

static inline __attribute__((always_inline)) vf vmultiply_add(vf sum, vf a, vf b) {
#ifdef PAIRS
  return (vf)_mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#else
  return sum + a * b;
#endif
}

static inline __attribute__((always_inline)) void micro_step(vf sum[MR][2], const float *a, const float *b) {
  vf b0 = vload(b), b1 = vload(b + VL);
  VKEEP(b0);
  VKEEP(b1);
  UNROLL
  for (int i = 0; i < MR; i++) {
    vf s = vset(a[i * AP]);
    sum[i][0] = vmultiply_add(sum[i][0], s, b0);
    sum[i][1] = vmultiply_add(sum[i][1], s, b1);
    VUSE(s);
  }
  VUSE(b0);
  VUSE(b1);
}

/* sum[i][j] over p < k of a[i * AP + p] * b[p * NR + j]; k is a multiple of STEP (who packs fills up with zeros), since
 * a second loop for the rest costs a tenth of the time even where it is not run. `ahead` may be NULL. */
static inline __attribute__((always_inline)) void micro_sum(vf sum[MR][2], const float *a, const float *b, int64_t k,
                                                            const struct ahead *ahead) {
  UNROLL
  for (int i = 0; i < MR; i++)
    sum[i][0] = sum[i][1] = (vf){0};
  for (int64_t p0 = 0; p0 < k; p0 += STEP) {
    UNROLL
    for (int p = 0; p < STEP; p++)
      micro_step(sum, a + p0 + p, b + (p0 + p) * NR);
    fetch_ahead(ahead, p0);
  }
}

static inline __attribute__((always_inline)) void micro_store(vf sum[MR][2], float *c, int64_t stride,
                                                              enum store store) {
  UNROLL
  for (int i = 0; i < MR; i++) {
    UNROLL
    for (int j = 0; j < 2; j++) {
      float *to = c + i * stride + j * VL;
      vstore(to, store == STORE_SET ? sum[i][j] : store == STORE_ADD ? vload(to) + sum[i][j] : vload(to) - sum[i][j]);
    }
  }
}

/* c (rows `stride` apart) becomes, or grows by, these sums. */
static inline __attribute__((always_inline)) void micro_tile(const float *a, const float *b, int64_t k, float *c,
                                                             int64_t stride, enum store store,
                                                             const struct ahead *ahead) {
  vf sum[MR][2];
  micro_sum(sum, a, b, k, ahead);
  micro_store(sum, c, stride, store);
}

static inline void micro_begin(void) {
}
static inline void micro_end(void) {
}

#endif

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
/* The values of two vectors side by side: those of `even` are the first of each pair. */
static inline vf vpair_rows(vf even, vf odd) {
  __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
  __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
  return (vf)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* n values from `from`, and zeros up to 2 * count, as `count` pairs. May be in place. */
static inline void pack_row(float *to, const float *from, int64_t n, int64_t count) {
  for (int64_t p = 0; p < count; p += VL) {
    vf low = vload_part(from + 2 * p, n - 2 * p), high = vload_part(from + 2 * p + VL, n - 2 * p - VL);
    vstore_part(to + p, vpair(low, high), count - p);
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
