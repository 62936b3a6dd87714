/* The register-blocked product at the bottom of products, attention and convolution. */
#ifndef SAM3_BACKEND_CPU_MICRO_H
#define SAM3_BACKEND_CPU_MICRO_H

#include "backend/cpu/vec.h"

/* The micro-kernel keeps a tile of MR × NR sums in registers. A is read from MR rows of AP floats ("panel"), of which
 * at most AP are used; B from K rows of NR floats.
 *
 * With PAIRS it multiplies bf16: every float of A and B is then two of them, those of k = 2p and 2p + 1, and packed
 * sizes count pairs. Sums are float always.
 *
 * With PARTS of 3 it multiplies floats by bf16. A float is the sum of three, of 8 bits each: each is the rest of those
 * before, rounded. Of the nine products of parts six are formed; the others are below half a bit of the result. In A's
 * rows and in B the first parts come before the second ones. Henry, Tang and Heinecke, "Leveraging the bfloat16
 * artificial intelligence datatype for higher-precision computations" (ARITH 2019). */
#ifndef PARTS
#define PARTS 1
#endif

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
  PACKED = 2, /* values in a packed float, or parts of values */
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

/* Part `part` of `parts` of what belongs to the STEP from p on. */
static inline __attribute__((always_inline)) void fetch_ahead(const struct ahead *ahead, int64_t p, int part,
                                                              int parts) {
  if (!ahead)
    return;
  if (part == 0)
    __builtin_prefetch(ahead->a + p, 0, 2);
  const float *b = ahead->b + p / STEP * ahead->lines * LINE;
  UNROLL
  for (int i = ahead->lines * part / parts; i < ahead->lines * (part + 1) / parts; i++)
    __builtin_prefetch(b + i * LINE, 0, 2);
}

#if defined(__AMX_BF16__)

/* Of tile registers 0 to 3 are sums, 4 and 5 rows of A, 6 and 7 columns of B. */
static inline __attribute__((always_inline)) void load_a(const float *a) {
  _tile_loadd(4, a, AP * 4);
  _tile_loadd(5, a + 16 * AP, AP * 4);
}
static inline __attribute__((always_inline)) void load_b(const float *b) {
  _tile_loadd(6, b, NR * 4);
  _tile_loadd(7, b + 16, NR * 4);
}
static inline __attribute__((always_inline)) void multiply_tiles(void) {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

/* c (rows `stride` apart) becomes, or grows by, the sums over p < k of a[i * AP + p] * b[p * NR + j]; k is a multiple
 * of STEP: who packs fills up with zeros. `ahead` may be NULL. */
static inline __attribute__((always_inline)) void micro_tile(const float *a, const float *b, int64_t k, float *c,
                                                             int64_t stride, enum store store,
                                                             const struct ahead *ahead) {
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
    load_a(a + p);
#if PARTS == 3
    load_b(b + (2 * k + p) * NR);
    multiply_tiles(); /* first part by third */
    fetch_ahead(ahead, p, 0, 6);
    load_b(b + (k + p) * NR);
    multiply_tiles();
    fetch_ahead(ahead, p, 1, 6);
    load_b(b + p * NR);
    multiply_tiles();
    fetch_ahead(ahead, p, 2, 6);
    load_a(a + 2 * k + p);
    multiply_tiles(); /* third by first */
    fetch_ahead(ahead, p, 3, 6);
    load_a(a + k + p);
    multiply_tiles();
    fetch_ahead(ahead, p, 4, 6);
    load_b(b + (k + p) * NR);
    multiply_tiles(); /* second by second */
    fetch_ahead(ahead, p, 5, 6);
#else
    load_b(b + p * NR);
    multiply_tiles();
    fetch_ahead(ahead, p, 0, 1);
#endif
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
    fetch_ahead(ahead, p0, 0, 1);
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

#endif
