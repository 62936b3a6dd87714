/* Vectors of VL floats in GCC's vector extensions: one source for every instruction set. Included only by files that
 * are compiled once for each variant, with VL and VARIANT defined on the command line. */
#ifndef SAM3_BACKEND_CPU_VEC_H
#define SAM3_BACKEND_CPU_VEC_H

#include <stdint.h>

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
static inline vf vset(float s) {
  return s - (vf){0};
}
static inline vf vselect(vi mask, vf yes, vf no) {
  return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
/* As fmaxf and fminf, but a NaN in `a` stays. */
static inline vf vmax(vf a, vf b) {
  return vselect(a < b, b, a);
}
static inline vf vmin(vf a, vf b) {
  return vselect(a > b, b, a);
}
static inline float vsum(vf v) {
  float sum = 0;
  for (int i = 0; i < VL; i++)
    sum += v[i];
  return sum;
}

/* The first n floats at p, the rest 0. */
static inline vf vload_part(const float *p, int64_t n) {
  if (n >= VL)
    return vload(p);
  vf v = {0};
  for (int i = 0; i < n; i++)
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
