/* What the multiply-add units give at best. */
#include <time.h>

#include "backend/cpu/kernels.h"

enum { CHAINS = VL == 16 ? 24 : 12, ROUNDS = 1 << 20 };

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct peak {
  float factor, term, result[64]; /* kept, so that the loop is */
};

static void multiply_add(void *arg, int64_t begin, int64_t end, int worker) {
  struct peak *peak = arg;
  vf sum[CHAINS], factor = vset(peak->factor), term = vset(peak->term);
  for (int i = 0; i < CHAINS; i++)
    sum[i] = vset((float)i);
  for (int64_t item = begin; item < end; item++)
    for (int round = 0; round < ROUNDS; round++) {
      _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term;
    }
  vf all = {0};
  for (int i = 0; i < CHAINS; i++)
    all += sum[i];
  peak->result[worker % 64] = vsum(all);
}

double V(measure_peak)(struct device *dev) {
  struct cpu_device *cpu = cpu_of(dev);
  struct peak peak = {.factor = 0.5f, .term = 1};
  double best = 0;
  for (int i = 0; i < 10; i++) {
    double begin = seconds();
    pool_for(cpu->pool, dev->threads, 1, multiply_add, &peak);
    double speed = 2.0 * VL * CHAINS * ROUNDS * dev->threads / (seconds() - begin);
    best = speed > best ? speed : best;
  }
  return best;
}
