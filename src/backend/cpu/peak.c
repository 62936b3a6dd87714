/* What the multiply-add units give at best. */
#include <time.h>

#include "backend/cpu/kernels.h"

#if defined(__AMX_BF16__)
enum { ROUNDS = 1 << 20, ROUND_FLOPS = 4 * 2 * 16 * 16 * 32 };
#else
enum { ROUNDS = 1 << 20, CHAINS = VL == 16 ? 24 : 12, ROUND_FLOPS = 2 * PACKED * VL * CHAINS };
#endif

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct peak {
  float factor, term, result[64]; /* kept, so that the loop is */
};

#if defined(__AMX_BF16__)
static void multiply_add(void *arg, int64_t begin, int64_t end, int worker) {
  (void)arg, (void)worker;
  micro_begin();
  for (int64_t round = 0; round < (end - begin) * ROUNDS; round++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  micro_end();
}
#else
static inline vf step(vf sum, vf factor, vf term) {
#ifdef PAIRS
  return vmultiply_add(sum, factor, term);
#else
  return sum * factor + term; /* bounded */
#endif
}

static void multiply_add(void *arg, int64_t begin, int64_t end, int worker) {
  struct peak *peak = arg;
  vf sum[CHAINS], factor = vset(peak->factor), term = vset(peak->term);
  for (int i = 0; i < CHAINS; i++)
    sum[i] = vset((float)i);
  for (int64_t item = begin; item < end; item++)
    for (int round = 0; round < ROUNDS; round++) {
      _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) sum[i] = step(sum[i], factor, term);
    }
  vf all = {0};
  for (int i = 0; i < CHAINS; i++)
    all += sum[i];
  peak->result[worker % 64] = vsum(all);
}
#endif

double V(measure_peak)(struct device *dev) {
  struct cpu_device *cpu = cpu_of(dev);
  struct peak peak = {.factor = 0.5f, .term = 1};
  double best = 0;
  for (int i = 0; i < 10; i++) {
    double begin = seconds();
    pool_for(cpu->pool, dev->threads, 1, multiply_add, &peak);
    double speed = (double)ROUND_FLOPS * ROUNDS * dev->threads / (seconds() - begin);
    best = speed > best ? speed : best;
  }
  return best;
}
