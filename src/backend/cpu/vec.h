/* Vectors of VL floats in GCC's vector extensions: one source for every instruction set. Included only by files that
 * are compiled once for each variant, with VL and VARIANT defined on the command line. */
#ifndef SAM3_BACKEND_CPU_VEC_H
#define SAM3_BACKEND_CPU_VEC_H

#include <stdint.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

#define VARIANT_JOIN_(name, variant) name##_##variant
#define VARIANT_JOIN(name, variant) VARIANT_JOIN_(name, variant)
/* The name of a function of this variant. */
#define V(name) VARIANT_JOIN(name, VARIANT)

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef float vf_unaligned __attribute__((vector_size(VL * 4), aligned(4), may_alias));

#define UNROLL _Pragma("GCC unroll 16")

static inline vf vload(const float *p) {
  return *(const vf_unaligned *)p;
}
static inline void vstore(float *p, vf v) {
  *(vf_unaligned *)p = v;
}
/* VKEEP holds v in a register: else GCC may load an operand again for each of its uses, and loads become the limit.
 * VUSE says that v is still needed: else GCC may add the last product with v to v's own register, and sums wander from
 * register to register and through memory. */
#if defined(__x86_64__) && (VL == 4 || (VL == 8 && defined(__AVX__)))
#define VKEEP(v) __asm__("" : "+x"(v))
#define VUSE(v) __asm__("" : : "x"(v))
#elif defined(__x86_64__) && defined(__AVX512F__)
#define VKEEP(v) __asm__("" : "+v"(v))
#define VUSE(v) __asm__("" : : "v"(v))
#elif defined(__aarch64__) && VL == 4
#define VKEEP(v) __asm__("" : "+w"(v))
#define VUSE(v) __asm__("" : : "w"(v))
#else
#define VKEEP(v) ((void)0)
#define VUSE(v) ((void)0)
#endif
static inline vf vset(float s) {
  return s - (vf){0};
}
static inline vf vselect(vi mask, vf yes, vf no) {
  return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* The larger and the smaller of each pair; `a` where either is NaN. (No compiler yet makes one instruction of the
 * portable form.) */
#if VL == 16 && defined(__AVX512F__)
#define VMAX(a, b) _mm512_max_ps(b, a)
#define VMIN(a, b) _mm512_min_ps(b, a)
#elif VL == 8 && defined(__AVX__)
#define VMAX(a, b) _mm256_max_ps(b, a)
#define VMIN(a, b) _mm256_min_ps(b, a)
#elif VL == 4 && defined(__SSE__)
#define VMAX(a, b) _mm_max_ps(b, a)
#define VMIN(a, b) _mm_min_ps(b, a)
#else
#define VMAX(a, b) vselect(a < b, b, a)
#define VMIN(a, b) vselect(a > b, b, a)
#endif
static inline vf vmax(vf a, vf b) {
  return VMAX(a, b);
}
static inline vf vmin(vf a, vf b) {
  return VMIN(a, b);
}

/* Stores past the caches, to an address aligned as a vector is; VFENCE() before other threads may read it. */
#if VL == 16 && defined(__AVX512F__)
#define VSTREAM(p, v) _mm512_stream_ps(p, v)
#elif VL == 8 && defined(__AVX__)
#define VSTREAM(p, v) _mm256_stream_ps(p, v)
#elif VL == 4 && defined(__SSE__)
#define VSTREAM(p, v) _mm_stream_ps(p, v)
#else
#define VSTREAM(p, v) vstore(p, v)
#endif
#if defined(__SSE__)
#define VFENCE() _mm_sfence()
#else
#define VFENCE() ((void)0)
#endif

/* v with lane i and lane i ^ n exchanged, for n of 1, 2, 4 and 8. */
#define VSHUFFLE __builtin_shufflevector
#if VL == 4
#define VSWAP1(v) VSHUFFLE(v, v, 1, 0, 3, 2)
#define VSWAP2(v) VSHUFFLE(v, v, 2, 3, 0, 1)
#elif VL == 8
#define VSWAP1(v) VSHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6)
#define VSWAP2(v) VSHUFFLE(v, v, 2, 3, 0, 1, 6, 7, 4, 5)
#define VSWAP4(v) VSHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3)
#else
#define VSWAP1(v) VSHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#define VSWAP2(v) VSHUFFLE(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define VSWAP4(v) VSHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define VSWAP8(v) VSHUFFLE(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
#endif

/* The largest lane, and the sum of the lanes, in every lane. */
static inline vf vmax_all(vf v) {
#if VL >= 16
  v = vmax(v, VSWAP8(v));
#endif
#if VL >= 8
  v = vmax(v, VSWAP4(v));
#endif
  v = vmax(v, VSWAP2(v));
  return vmax(v, VSWAP1(v));
}
static inline float vsum(vf v) {
#if VL >= 16
  v += VSWAP8(v);
#endif
#if VL >= 8
  v += VSWAP4(v);
#endif
  v += VSWAP2(v);
  v += VSWAP1(v);
  return v[0];
}

/* The first n floats at p, the rest 0. */
static inline vf vload_part(const float *p, int64_t n) {
  if (n >= VL)
    return vload(p);
  vf v = {0};
  for (int i = 0; i < n; i++) /* none when n < 0 */
    v[i] = p[i];
  return v;
}
static inline void vstore_part(float *p, vf v, int64_t n) {
  if (n >= VL) {
    vstore(p, v);
    return;
  }
  for (int i = 0; i < n; i++)
    p[i] = v[i];
}

#endif
