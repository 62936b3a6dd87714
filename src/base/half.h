/* bfloat16 and IEEE binary16 as bit patterns, to and from float. */
#ifndef SAM3_BASE_HALF_H
#define SAM3_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_from_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_from_bf16(uint16_t half) {
  return float_from_bits((uint32_t)half << 16);
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t bf16_from_float(float value) {
  uint32_t bits = bits_from_float(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float float_from_f16(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
  if (exponent == 0x1f)
    return float_from_bits(sign | 0x7f800000 | mantissa << 13);
  if (exponent == 0) /* zero or subnormal: mantissa * 2^-24, exact in float */
    return float_from_bits(sign | bits_from_float((float)mantissa * 0x1p-24f));
  return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Round to nearest, ties to even; too large becomes infinity; NaN stays NaN. */
static inline uint16_t f16_from_float(float value) {
  uint32_t bits = bits_from_float(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) /* rounds to 65536 or more */
    return (uint16_t)(sign | 0x7c00);
  if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 leaves the mantissa rounded at 2^-24 */
    uint32_t rounded = bits_from_float(float_from_bits(magnitude) + 0.5f) - bits_from_float(0.5f);
    return (uint16_t)(sign | rounded);
  }
  magnitude += 0xfff + (magnitude >> 13 & 1);
  return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

#endif
