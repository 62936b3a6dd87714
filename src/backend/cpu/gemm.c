/* Matrix products: blocks that stay in cache around the micro-kernel, as in Goto and van de Geijn, "Anatomy of
 * High-Performance Matrix Multiplication" (2008), with one level of Strassen's algorithm in the packing and in the
 * write-back, as in Huang et al., "Strassen's Algorithm Reloaded" (SC 2016). docs/cpu.md explains the blocking. */
#include <string.h>

#include "backend/cpu/kernels.h"

/* A block of y is cut into grid × grid quarters, and so is the block of x and w behind each step over k. A step is a
 * sequence of products of quarters (or of sums of two), each added to or subtracted from one or two quarters of y. */
struct operand {
  int first, second; /* quarter = 2 * row + column; second -1: none */
  int sign;          /* of the second */
};
struct step {
  struct operand x, w; /* w's quarters: 2 * (part of k) + (part of n) */
  struct {
    int quarter;             /* -1: none */
    enum store first, later; /* in the first step over k, and in the rest */
  } y[2];
};

static const struct step classical[1] = {{{0, -1, 0}, {0, -1, 0}, {{0, STORE_SET, STORE_ADD}, {-1}}}};

static const struct step strassen[7] = {
    {{0, 3, +1}, {0, 3, +1}, {{0, STORE_SET, STORE_ADD}, {3, STORE_SET, STORE_ADD}}},
    {{2, 3, +1}, {0, -1, 0}, {{2, STORE_SET, STORE_ADD}, {3, STORE_SUB, STORE_SUB}}},
    {{0, -1, 0}, {1, 3, -1}, {{1, STORE_SET, STORE_ADD}, {3, STORE_ADD, STORE_ADD}}},
    {{3, -1, 0}, {2, 0, -1}, {{0, STORE_ADD, STORE_ADD}, {2, STORE_ADD, STORE_ADD}}},
    {{0, 1, +1}, {3, -1, 0}, {{0, STORE_SUB, STORE_SUB}, {1, STORE_ADD, STORE_ADD}}},
    {{2, 0, -1}, {0, 1, +1}, {{3, STORE_ADD, STORE_ADD}, {-1}}},
    {{1, 3, -1}, {2, 3, +1}, {{0, STORE_ADD, STORE_ADD}, {-1}}},
};

/* A packed block of x has so many rows and columns at most. 108 KB leave the second-level cache to the sums; tiles go
 * through a panel of w so fast that it must serve more rows, and a strip and a panel must both fit the first-level
 * cache. */
enum {
#if defined(__AMX_BF16__)
  MAX_MC = 192,
  MAX_KC = PARTS == 3 ? 48 : 128,
#else
  MAX_MC = 108 / MR * MR,
  MAX_KC = AP,
#endif
  /* Lines of the next panel of w that a strip of a full block fetches with every STEP. */
  AHEAD = (NR * PARTS * STEP / LINE * MR + MAX_MC - 1) / MAX_MC,
  SUMS_FLOATS = SCRATCH_FLOATS - MAX_MC * AP,
  MAX_COLUMN = 3584,       /* floats of a packed column of w, all steps together: so many columns have room at a time */
  SUMS_PAD = 16,           /* floats that keep rows of sums from standing 4 KB apart */
  STREAM_FLOATS = 4 << 20, /* a y of so many is written past the caches, which would lose it before it is read */
};

struct plan {
  const struct product *prod;
  struct cpu_device *cpu;
  const struct step *steps;
  int grid, step_count;
  int64_t kc;           /* k of one quarter, packed */
  int64_t k0, k_steps;  /* the range of k in hand: from k0, k_steps steps of grid * kc, packed */
  int64_t n0, nc;       /* the range of columns in hand: from n0, grid * nc (nc a multiple of NR) */
  int64_t mc, m_blocks; /* rows of a quarter, blocks of grid * mc rows */
  int64_t n_parts;      /* each block's columns are cut into so many parts, for more workers than blocks */
  bool first_k;
};

/* ---- packing of w ---- */

const float *V(w_row)(const struct product *prod, sam3_dtype round, int64_t row, int64_t k0, int64_t len,
                      float *buffer) {
  const struct tensor *w = &prod->w;
  int64_t have = row < prod->n ? min64(len, prod->k - k0) : 0;
  if (w->dtype == SAM3_F32 && round == SAM3_F32 && have == len)
    return (const float *)w->data + row * w->stride + k0;
  if (have < 0)
    have = 0;
  V(to_floats)(buffer, w, row * w->stride + k0, have, round);
  if (have < len)
    memset(buffer + have, 0, (size_t)(len - have) * sizeof *buffer);
  return buffer;
}

/* Row n of a quarter of w in step k_step, packed: in `buffer` unless it can be read in place. */
static const float *w_at(const struct plan *plan, int64_t n, int64_t k_step, int quarter, float *buffer) {
  const struct product *prod = plan->prod;
  int64_t row = n + (quarter & 1) * plan->nc;
  int64_t k0 = plan->k0 + (k_step * plan->grid + (quarter >> 1)) * plan->kc * PACKED, len = plan->kc * PACKED;
#ifdef PAIRS
  if (PARTS == 1 && prod->w.dtype == SAM3_BF16 && row < prod->n && k0 + len <= prod->k) {
    memcpy(buffer, (const uint16_t *)prod->w.data + row * prod->w.stride + k0, (size_t)len * sizeof(uint16_t));
    return buffer;
  }
  float values[AP * PACKED];
  pack_row(buffer, V(w_row)(prod, plan->cpu->device.dtype, row, k0, len, values), len, plan->kc);
  return buffer;
#else
  return V(w_row)(prod, plan->cpu->device.dtype, row, k0, len, buffer);
#endif
}

/* One panel of NR columns for one step and one product in it. */
static void pack_w(const struct plan *plan, int64_t k_step, const struct operand *op, int64_t panel, float *to) {
  float rows[NR][AP], other[AP];
  const float *from[NR];
  int64_t kc = plan->kc;
  for (int j = 0; j < NR; j++) {
    int64_t n = plan->n0 + panel * NR + j;
    from[j] = w_at(plan, n, k_step, op->first, rows[j]);
    if (op->second < 0)
      continue;
    const float *second = w_at(plan, n, k_step, op->second, other);
    float sign = (float)op->sign;
    for (int64_t p = 0; p < kc; p++)
      rows[j][p] = from[j][p] + sign * second[p];
    from[j] = rows[j];
  }
  V(pack_columns)(to, from, kc * PARTS);
}

static int64_t panels(const struct plan *plan) {
  return plan->nc / NR;
}

static float *packed_w(const struct plan *plan, int64_t k_step, int64_t step, int64_t panel) {
  return plan->cpu->shared + ((k_step * plan->step_count + step) * panels(plan) + panel) * plan->kc * PARTS * NR;
}

/* Everything for one panel in turn: its rows of w lie pages apart, and stay in cache meanwhile. */
static void pack_w_items(void *job, int64_t begin, int64_t end, int worker) {
  const struct plan *plan = job;
  (void)worker;
  for (int64_t i = begin; i < end; i++) {
    int64_t step = i % plan->step_count, k_step = i / plan->step_count % plan->k_steps;
    int64_t panel = i / plan->step_count / plan->k_steps;
    pack_w(plan, k_step, &plan->steps[step].w, panel, packed_w(plan, k_step, step, panel));
  }
}

/* ---- packing of x ---- */

/* Where row i of a quarter of the block of rows from m0 on stands in step k_step, and how many of its columns x has. */
static const float *x_at(const struct plan *plan, int64_t m0, int64_t mc, int64_t k_step, int quarter, int64_t i,
                         int64_t *have) {
  const struct product *prod = plan->prod;
  int64_t row = m0 + (quarter >> 1) * mc + i;
  int64_t k0 = plan->k0 + (k_step * plan->grid + (quarter & 1)) * plan->kc * PACKED;
  *have = row < prod->m && k0 < prod->k ? min64(plan->kc * PACKED, prod->k - k0) : 0;
  return *have ? prod->x + row * prod->x_stride + k0 : prod->x;
}

#ifndef PAIRS
/* to[p] = a[p] + sign * b[p]; what lies beyond a or b is 0. */
static void combine(float *to, int64_t len, const float *a, int64_t a_len, const float *b, int64_t b_len, float sign) {
  int64_t both = min64(a_len, b_len), p = 0;
  for (; p < both; p++)
    to[p] = a[p] + sign * b[p];
  for (; p < a_len; p++)
    to[p] = a[p];
  for (; p < b_len; p++)
    to[p] = sign * b[p];
  for (; p < len; p++)
    to[p] = 0;
}
#endif

static void pack_x(const struct plan *plan, int64_t m0, int64_t k_step, const struct operand *op, int64_t mc,
                   float *to) {
  for (int64_t i = 0; i < mc; i++) {
    int64_t a_len;
    const float *a = x_at(plan, m0, mc, k_step, op->first, i, &a_len);
#ifdef PAIRS
    pack_row(to + i * AP, a, a_len, plan->kc);
#else
    int64_t b_len = 0;
    const float *b = op->second < 0 ? NULL : x_at(plan, m0, mc, k_step, op->second, i, &b_len);
    combine(to + i * AP, plan->kc, a, a_len, b, b_len, (float)op->sign);
#endif
  }
}

/* What pack_x will read for row `turn` of the next product, those of the second operand after those of the first; for
 * the processor to fetch: what is not there is any row. */
static const float *next_x(const struct plan *plan, int64_t m0, int64_t mc, int64_t k_step, int s, int64_t turn) {
  if (++s == plan->step_count)
    s = 0, k_step++;
  const struct operand *op = &plan->steps[s].x;
  int quarter = turn < mc || op->second < 0 ? op->first : op->second;
  int64_t have;
  return x_at(plan, m0, mc, k_step, quarter, turn % mc, &have);
}

/* ---- the product of packed blocks ---- */

static inline __attribute__((always_inline)) void micro(const float *a, const float *b, int64_t k, int64_t stride,
                                                        float *c0, enum store store0, float *c1, enum store store1,
                                                        const struct ahead *ahead) {
  UNROLL
  for (int i = 0; i < MR; i++) {
    UNROLL
    for (int j = 0; j < NR; j += LINE) {
      __builtin_prefetch(c0 + i * stride + j, 1);
      if (c1)
        __builtin_prefetch(c1 + i * stride + j, 1);
    }
  }
#ifdef PAIRS
  micro_tile(a, b, k, c0, stride, store0, ahead);
  (void)c1, (void)store1;
#else
  vf sum[MR][2];
  micro_sum(sum, a, b, k, ahead);
  if (store0 == STORE_SET)
    micro_store(sum, c0, stride, STORE_SET);
  else if (store0 == STORE_ADD)
    micro_store(sum, c0, stride, STORE_ADD);
  else
    micro_store(sum, c0, stride, STORE_SUB);
  if (!c1)
    return;
  if (store1 == STORE_SET)
    micro_store(sum, c1, stride, STORE_SET);
  else if (store1 == STORE_ADD)
    micro_store(sum, c1, stride, STORE_ADD);
  else
    micro_store(sum, c1, stride, STORE_SUB);
#endif
}

/* Rows of sums of the block in hand: quarters side by side, so that a row of sums is a row of y. */
static int64_t sums_stride(int64_t grid, int64_t nc) {
  return grid * nc + SUMS_PAD;
}

/* ---- writing y ---- */

static int64_t y_row(const struct product *prod, int64_t row) {
  if (!prod->grid_w)
    return row;
  int64_t gy = row / prod->grid_w, gx = row % prod->grid_w;
  return (2 * gy + prod->tap / 2) * 2 * prod->grid_w + 2 * gx + prod->tap % 2;
}

void V(write_row)(const struct product *prod, int64_t row, int64_t n0, int64_t cols, const float *sums, bool first) {
  float *y = prod->y + y_row(prod, row) * prod->y_stride + n0;
  const float *b = first && prod->b ? prod->b + n0 : NULL, *residual = NULL;
  if (!first)
    residual = y;
  else if (prod->residual)
    residual = prod->residual + row * prod->residual_stride + n0;
  bool stream = prod->m * prod->n >= STREAM_FLOATS && (uintptr_t)y % sizeof(vf) == 0;
  for (int64_t c = 0; c < cols; c += VL) {
    int64_t n = cols - c;
    vf v = vload_part(sums + c, n);
    if (b)
      v += vload_part(b + c, n);
    v = vactivate(v, prod->act);
    if (residual)
      v += vload_part(residual + c, n);
    if (stream && n >= VL)
      VSTREAM(y + c, v);
    else
      vstore_part(y + c, v, n);
  }
}

/* Item i: part i % n_parts of the columns of block i / n_parts of the rows. */
static void block(const struct plan *plan, int64_t item, float *scratch) {
  const struct product *prod = plan->prod;
  int64_t grid = plan->grid, m0 = item / plan->n_parts * grid * plan->mc, part = item % plan->n_parts;
  if (m0 >= prod->m)
    return;
  int64_t mc = min64(plan->mc, round_up(div_up(prod->m - m0, grid), MR));
  int64_t panel0 = panels(plan) * part / plan->n_parts, panel1 = panels(plan) * (part + 1) / plan->n_parts;
  int64_t nc = (panel1 - panel0) * NR, stride = sums_stride(grid, nc);
  float *packed = scratch, *sums = scratch + MAX_MC * AP;
  for (int64_t k_step = 0; k_step < plan->k_steps; k_step++) {
    for (int s = 0; s < plan->step_count; s++) {
      const struct step *step = &plan->steps[s];
      pack_x(plan, m0, k_step, &step->x, mc, packed);
      int64_t turn = 0;
      float *c[2];
      enum store store[2];
      for (int t = 0; t < 2; t++) {
        int q = step->y[t].quarter;
        c[t] = q < 0 ? NULL : sums + (q >> 1) * mc * stride + (q & 1) * nc;
        store[t] = k_step ? step->y[t].later : step->y[t].first;
      }
      for (int64_t panel = panel0; panel < panel1; panel++) {
        const float *w = packed_w(plan, k_step, s, panel);
        struct ahead ahead = {w + plan->kc * PARTS * NR, NULL, AHEAD};
        int64_t col = (panel - panel0) * NR;
        for (int64_t i = 0; i < mc; i += MR, ahead.b += plan->kc / STEP * AHEAD * LINE) {
          ahead.a = next_x(plan, m0, mc, k_step, s, turn++);
          micro(packed + i * AP, w, plan->kc, stride, c[0] + i * stride + col, store[0],
                c[1] ? c[1] + i * stride + col : NULL, store[1], &ahead);
        }
      }
    }
  }
  for (int64_t i = 0; i < min64(grid * mc, prod->m - m0); i++) {
    for (int64_t q = 0; q < grid; q++) {
      int64_t n = plan->n0 + q * plan->nc + panel0 * NR, cols = min64(nc, prod->n - n);
      if (cols > 0)
        V(write_row)(prod, m0 + i, n, cols, sums + i * stride + q * nc, plan->first_k);
    }
  }
}

static void block_items(void *job, int64_t begin, int64_t end, int worker) {
  const struct plan *plan = job;
  micro_begin();
  for (int64_t i = begin; i < end; i++)
    block(plan, i, cpu_scratch(plan->cpu, worker));
  micro_end();
  VFENCE();
}

/* ---- the whole ---- */

static bool strassen_pays(const struct product *prod, int threads) {
  return PACKED == 1 && prod->m >= (int64_t)threads * 2 * MAX_MC && prod->n >= 2 * 8 * NR && prod->k >= 256;
}

void V(product)(struct cpu_device *cpu, const struct product *prod) {
  if (prod->m == 0 || prod->n == 0)
    return;
#if PARTS == 3
  if (prod->m < 512) { /* packing w costs more than tiles gain */
    product_avx512(cpu, prod);
    return;
  }
#else
  if (prod->m <= FEW_ROWS) {
    V(product_few_rows)(cpu, prod);
    return;
  }
#endif
  struct plan plan = {.prod = prod, .cpu = cpu, .steps = classical, .grid = 1, .step_count = 1};
  int threads = cpu->device.threads;
  if (strassen_pays(prod, threads))
    plan.steps = strassen, plan.grid = 2, plan.step_count = 7;
  int64_t grid = plan.grid;

  int64_t k_packed = div_up(prod->k, PACKED), k_steps = div_up(k_packed, grid * MAX_KC);
  plan.kc = round_up(div_up(k_packed, grid * k_steps), STEP);

  /* Rows: blocks of equal height, as many for each worker. */
  int64_t rounds = div_up(prod->m, threads * grid * MAX_MC);
  plan.mc = min64(round_up(div_up(prod->m, threads * rounds * grid), MR), MAX_MC);
  plan.m_blocks = div_up(prod->m, grid * plan.mc);

  /* Columns: as many at a time as the sums of a block have room for; and as many steps over k as packed w has. Only a
   * product without activation can be written in several goes over k. */
  int64_t most_cols = (SUMS_FLOATS / (grid * plan.mc) - SUMS_PAD) / (grid * NR) * (grid * NR);
  int64_t per_col = plan.step_count * plan.kc * PARTS; /* packed floats for each column of a quarter and step */
  int64_t steps_at_once = k_steps;
  if (prod->act == ACT_NONE)
    steps_at_once = min64(k_steps, div_up(k_steps, div_up(per_col * k_steps, grid * MAX_COLUMN)));
  most_cols = min64(most_cols, SHARED_FLOATS / (per_col * steps_at_once) / NR * NR * grid);
  int64_t n_units = div_up(prod->n, grid * NR), n_chunks = div_up(n_units, most_cols / (grid * NR));

  for (int64_t chunk = 0; chunk < n_chunks; chunk++) {
    int64_t unit0 = n_units * chunk / n_chunks, unit1 = n_units * (chunk + 1) / n_chunks;
    plan.n0 = unit0 * grid * NR;
    plan.nc = (unit1 - unit0) * NR;
    plan.n_parts = plan.m_blocks >= threads ? 1 : min64(div_up(threads, plan.m_blocks), panels(&plan));
    for (int64_t step = 0; step < k_steps; step += plan.k_steps) {
      plan.k0 = step * grid * plan.kc * PACKED;
      plan.k_steps = min64(steps_at_once, k_steps - step);
      plan.first_k = step == 0;
      int64_t pieces = plan.k_steps * plan.step_count * panels(&plan);
      pool_for(cpu->pool, pieces, div_up(pieces, 4 * threads), pack_w_items, &plan);
      pool_for(cpu->pool, plan.m_blocks * plan.n_parts, 1, block_items, &plan);
    }
  }
}

void V(linear)(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin, enum activation act,
               const struct tensor *residual) {
  struct product prod = {
      .m = y.rows,
      .n = y.cols,
      .k = x.cols,
      .x = x.data,
      .x_stride = x.stride,
      .w = lin->w,
      .b = lin->b,
      .act = act,
      .y = y.data,
      .y_stride = y.stride,
  };
  if (residual) {
    prod.residual = residual->data;
    prod.residual_stride = residual->stride;
  }
  V(product)(cpu_of(dev), &prod);
}

void V(deconv2x2)(struct device *dev, struct tensor y, struct tensor x, int h, int w, const struct deconv2x2 *deconv,
                  enum activation act) {
  for (int tap = 0; tap < 4; tap++) {
    float *taps = (float *)deconv->w + (int64_t)tap * deconv->out * deconv->in;
    struct product prod = {
        .m = (int64_t)h * w,
        .n = deconv->out,
        .k = deconv->in,
        .x = x.data,
        .x_stride = x.stride,
        .w = {taps, SAM3_F32, deconv->out, deconv->in, deconv->in},
        .b = deconv->b,
        .act = act,
        .y = y.data,
        .y_stride = y.stride,
        .grid_w = w,
        .tap = tap,
    };
    V(product)(cpu_of(dev), &prod);
  }
}
