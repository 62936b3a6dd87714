/* The table of one variant. */
#include "backend/cpu/kernels.h"

#define VARIANT_STRING_(name) #name
#define VARIANT_STRING(name) VARIANT_STRING_(name)

static void install(struct device_ops *ops) {
  ops->linear = V(linear);
  ops->deconv2x2 = V(deconv2x2);
  ops->attention = V(attention);
  ops->measure_peak = V(measure_peak);
  V(install_rows)(ops);
  V(install_conv)(ops);
}

extern const struct cpu_variant V(cpu_variant);
const struct cpu_variant V(cpu_variant) = {.name = VARIANT_STRING(VARIANT), .install = install};
