/* The CPU device. Its kernels are written once over vectors of VL floats (vec.h) and compiled for several instruction
 * sets; the best that this CPU has is chosen when the device opens. docs/cpu.md says how it works. */
#ifndef SAM3_BACKEND_CPU_CPU_H
#define SAM3_BACKEND_CPU_CPU_H

#include "backend/cpu/pool.h"
#include "backend/device.h"

struct cpu_device {
  struct device device;
  struct device_ops ops;
  struct pool *pool;
  float *shared;  /* SHARED_FLOATS: packed weights, or packed keys and values */
  float *scratch; /* SCRATCH_FLOATS for each worker */
};

enum {
  SHARED_FLOATS = 4 << 20,
  SCRATCH_FLOATS = 1 << 19,
};

static inline struct cpu_device *cpu_of(struct device *dev) {
  return (struct cpu_device *)dev;
}

static inline float *cpu_scratch(const struct cpu_device *cpu, int worker) {
  return cpu->scratch + (int64_t)worker * SCRATCH_FLOATS;
}

/* The kernels for one instruction set. */
struct cpu_variant {
  const char *name;                     /* "avx2" */
  sam3_dtype dtype;                     /* SAM3_BF16: of products and attention; else all is computed in f32 */
  void (*install)(struct device_ops *); /* replaces the operators that it has */
};

/* The variants that this CPU can run, of each dtype the best first; returns how many. */
enum { CPU_VARIANTS = 7 };
int cpu_variants(const struct cpu_variant *have[CPU_VARIANTS]);

/* The best for this dtype; where there is none, the best in f32. */
const struct cpu_variant *cpu_variant_for(sam3_dtype dtype);

/* Opens "cpu", "cpu:N" or "cpu:A-B" for device_open; the second forces a variant. */
sam3_status cpu_open(const char *name, sam3_dtype dtype, struct device **dev, struct sam3_error *err);
sam3_status cpu_open_variant(const char *name, sam3_dtype dtype, const struct cpu_variant *variant, struct device **dev,
                             struct sam3_error *err);

#endif
