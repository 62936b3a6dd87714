/* The table of one variant. */
#include "backend/cpu/kernels.h"

#define VARIANT_STRING_(name) #name
#define VARIANT_STRING(name) VARIANT_STRING_(name)

#ifdef PAIRS
extern const struct cpu_variant cpu_variant_avx512;
#endif

static void install(struct device_ops *ops) {
#ifdef PAIRS /* the rest is float's */
  cpu_variant_avx512.install(ops);
#else
  V(install_rows)(ops);
  V(install_conv)(ops);
#endif
  ops->linear = V(linear);
  ops->deconv2x2 = V(deconv2x2);
#if PARTS == 1
  ops->attention = V(attention);
  ops->measure_peak = V(measure_peak);
#endif
}

extern const struct cpu_variant V(cpu_variant);
const struct cpu_variant V(cpu_variant) = {
    .name = VARIANT_STRING(VARIANT), .dtype = PACKED > PARTS ? SAM3_BF16 : SAM3_F32, .install = install};
