/* Products with few rows (a text's tokens): weights are read once, as they lie, so nothing is packed. Each sum runs
 * along k in the lanes of a vector, and ROWS × COLS of them are in registers. */
#include "backend/cpu/kernels.h"

enum {
  ROWS = 3,
  COLS = 4,
  MAX_K = 1024, /* of COLS rows of w at a time: 16 KB of the first-level cache */
};

struct few {
  struct cpu_device *cpu;
  const struct product *prod;
};

/* sums[i * NR + j] += x[i] · w[j] over k, for `rows` rows. */
static inline __attribute__((always_inline)) void dots(const int rows, const float *x, int64_t x_stride,
                                                       const float *const w[COLS], int64_t k, float *sums) {
  vf sum[ROWS][COLS];
  UNROLL
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < COLS; j++)
      sum[i][j] = (vf){0};
  int64_t p = 0;
  for (; p + VL <= k; p += VL) {
    vf a[ROWS];
    UNROLL
    for (int i = 0; i < rows; i++)
      a[i] = vload(x + i * x_stride + p);
    UNROLL
    for (int j = 0; j < COLS; j++) {
      vf b = vload(w[j] + p);
      UNROLL
      for (int i = 0; i < rows; i++)
        sum[i][j] += a[i] * b;
    }
  }
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < COLS; j++) {
      float total = vsum(sum[i][j]);
      for (int64_t q = p; q < k; q++)
        total += x[i * x_stride + q] * w[j][q];
      sums[i * NR + j] += total;
    }
  }
}

/* NR columns of y from n0 on. */
static void columns(const struct few *few, int64_t n0) {
  const struct product *prod = few->prod;
  float sums[FEW_ROWS][NR] = {{0}}, buffer[COLS][MAX_K];
  for (int64_t k0 = 0; k0 < prod->k; k0 += MAX_K) {
    int64_t k = min64(MAX_K, prod->k - k0);
    for (int64_t j = 0; j < NR && n0 + j < prod->n; j += COLS) {
      const float *w[COLS], *x = prod->x + k0;
      for (int c = 0; c < COLS; c++)
        w[c] = V(w_row)(prod, few->cpu->device.dtype, n0 + j + c, k0, k, buffer[c]);
      int64_t i = 0;
      for (; i + ROWS <= prod->m; i += ROWS)
        dots(ROWS, x + i * prod->x_stride, prod->x_stride, w, k, &sums[i][j]);
      for (; i < prod->m; i++)
        dots(1, x + i * prod->x_stride, prod->x_stride, w, k, &sums[i][j]);
    }
  }
  for (int64_t i = 0; i < prod->m; i++)
    V(write_row)(prod, i, n0, min64(NR, prod->n - n0), sums[i], true);
}

static void column_items(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  for (int64_t i = begin; i < end; i++)
    columns(arg, i * NR);
}

void V(product_few_rows)(struct cpu_device *cpu, const struct product *prod) {
  struct few few = {.cpu = cpu, .prod = prod};
  int64_t items = div_up(prod->n, NR), work = prod->m * NR * prod->k; /* of one item */
  int64_t grain = min64(div_up(32768, work), div_up(items, cpu->device.threads));
  pool_for(cpu->pool, items, grain, column_items, &few);
}
