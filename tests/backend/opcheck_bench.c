/* opcheck --bench: the operators at the real model's shapes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "opcheck.h"

/* One thread's work is measured by its own clock, which other processes disturb less. */
static double seconds(const struct device *dev) {
  struct timespec t;
  clock_gettime(dev->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct bench {
  struct device *dev;
  double peak, bandwidth; /* measured: FLOP/s; bytes/s of a copy, read and written */
};

/* The least time of several runs, over a second of them. */
static double best_time(void (*run)(struct device *dev, void *arg), struct device *dev, void *arg) {
  double best = 1e30, begin = seconds(dev);
  run(dev, arg);
  for (int i = 0; i < 3 || (i < 50 && seconds(dev) - begin < 1.5); i++) {
    double t = seconds(dev);
    run(dev, arg);
    t = seconds(dev) - t;
    best = t < best ? t : best;
  }
  return best;
}

static void print_flops(const struct bench *bench, const char *what, double time, double flops) {
  printf("%-44s %9.3f ms %8.1f GFLOP/s %6.1f %% of peak\n", what, time * 1e3, flops / time * 1e-9,
         bench->peak > 0 ? 100 * flops / time / bench->peak : 0);
  fflush(stdout);
}

static void print_bytes(const struct bench *bench, const char *what, double time, double bytes) {
  printf("%-44s %9.3f ms %8.1f GB/s    %6.1f %% of a copy\n", what, time * 1e3, bytes / time * 1e-9,
         100 * bytes / time / bench->bandwidth);
  fflush(stdout);
}

/* A matrix of small numbers. */
static struct tensor matrix(int64_t rows, int64_t cols, sam3_dtype dtype) {
  struct tensor t = {.dtype = dtype, .rows = rows, .cols = cols, .stride = cols};
  size_t count = (size_t)(rows * cols);
  if (posix_memalign(&t.data, 64, count * dtype_size(dtype)) != 0)
    exit(1);
  uint32_t state = 12345;
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525 + 1013904223;
    if (dtype == SAM3_F32)
      ((float *)t.data)[i] = (float)(state >> 8) * 0x1p-24f - 0.5f;
    else
      ((uint16_t *)t.data)[i] = (uint16_t)(0x3000 | state >> 20);
  }
  return t;
}

struct linear_bench {
  struct tensor x, y, residual;
  struct linear lin;
  enum activation act;
  bool with_residual;
};

static void run_linear(struct device *dev, void *arg) {
  struct linear_bench *b = arg;
  dev->ops->linear(dev, b->y, b->x, &b->lin, b->act, b->with_residual ? &b->residual : NULL);
}

static void bench_linear(const struct bench *bench, const char *what, int m, int n, int k, sam3_dtype dtype,
                         enum activation act, bool residual) {
  struct linear_bench b = {.x = matrix(m, k, SAM3_F32),
                           .y = matrix(m, n, SAM3_F32),
                           .act = act,
                           .lin = {.w = matrix(n, k, dtype)},
                           .with_residual = residual};
  struct tensor bias = matrix(1, n, SAM3_F32);
  b.residual = residual ? matrix(m, n, SAM3_F32) : (struct tensor){0};
  b.lin.b = bias.data;
  double time = best_time(run_linear, bench->dev, &b);
  char label[100];
  snprintf(label, sizeof label, "linear %s %d x %d x %d", what, m, n, k);
  print_flops(bench, label, time, 2.0 * m * n * k);
  if (m <= 32)
    print_bytes(bench, "   its weights", time, (double)n * k * (double)dtype_size(dtype));
  free(b.x.data);
  free(b.y.data);
  free(b.residual.data);
  free(b.lin.w.data);
  free(bias.data);
}

static void run_attention(struct device *dev, void *arg) {
  dev->ops->attention(dev, arg);
}

static void bench_attention(const struct bench *bench, const char *what, int batch, int heads, int dim, int nq, int nk,
                            bool rope, int grid) {
  struct attention att = {.q = matrix((int64_t)batch * nq, (int64_t)heads * dim, SAM3_F32),
                          .k = matrix((int64_t)batch * nk, (int64_t)heads * dim, SAM3_F32),
                          .v = matrix((int64_t)batch * nk, (int64_t)heads * dim, SAM3_F32),
                          .out = matrix((int64_t)batch * nq, (int64_t)heads * dim, SAM3_F32),
                          .batch = batch,
                          .heads = heads,
                          .scale = 1 / sqrtf((float)dim),
                          .grid_h = grid,
                          .grid_w = grid};
  struct tensor table = matrix(nq, dim / 2, SAM3_F32), bias = matrix(nq, (int64_t)(grid ? grid : 1) * heads, SAM3_F32);
  if (rope)
    att.rope_cos = att.rope_sin = table.data;
  if (grid)
    att.bias_y = att.bias_x = bias.data;
  char label[100];
  snprintf(label, sizeof label, "attention %s %dx%dx%d %d x %d", what, batch, heads, dim, nq, nk);
  print_flops(bench, label, best_time(run_attention, bench->dev, &att), 4.0 * batch * heads * dim * nq * nk);
  free(att.q.data);
  free(att.k.data);
  free(att.v.data);
  free(att.out.data);
  free(table.data);
  free(bias.data);
}

struct conv_bench {
  struct tensor x, y, coarse;
  int size;
  bool with_coarse;
  struct conv3x3 conv;
  struct deconv2x2 deconv;
  enum activation act;
};

static void run_conv(struct device *dev, void *arg) {
  struct conv_bench *b = arg;
  dev->ops->conv3x3(dev, b->y, b->x, b->with_coarse ? &b->coarse : NULL, b->size, b->size, 0, &b->conv);
}
static void run_prepare(struct device *dev, void *arg) {
  struct conv_bench *b = arg;
  dev->ops->conv3x3_release(dev, &b->conv);
  dev->ops->conv3x3_prepare(dev, &b->conv, NULL);
}
static void run_deconv(struct device *dev, void *arg) {
  struct conv_bench *b = arg;
  dev->ops->deconv2x2(dev, b->y, b->x, b->size, b->size, &b->deconv, b->act);
}

static void bench_conv(const struct bench *bench, int size, int in, int out, bool coarse) {
  struct conv_bench b = {.x = matrix((int64_t)size * size, in, SAM3_F32),
                         .y = matrix((int64_t)size * size, out, SAM3_F32),
                         .coarse = matrix((int64_t)size * size / 4, in, SAM3_F32),
                         .size = size,
                         .with_coarse = coarse,
                         .conv = {.w = matrix(out, (int64_t)in * 9, SAM3_F32)}};
  bench->dev->ops->conv3x3_prepare(bench->dev, &b.conv, NULL);
  char label[100];
  snprintf(label, sizeof label, "conv3x3 %d x %d %d to %d%s", size, size, in, out, coarse ? " coarse" : "");
  print_flops(bench, label, best_time(run_conv, bench->dev, &b), 18.0 * size * size * in * out);
  if (size == 72)
    print_bytes(bench, "   preparing its weights", best_time(run_prepare, bench->dev, &b),
                4.0 * 9 * in * out + (double)bench->dev->ops->conv3x3_prepared_size(bench->dev, out, in));
  bench->dev->ops->conv3x3_release(bench->dev, &b.conv);
  free(b.x.data);
  free(b.y.data);
  free(b.coarse.data);
  free(b.conv.w.data);
}

static void bench_deconv(const struct bench *bench, int size, int in, int out, enum activation act) {
  struct conv_bench b = {.x = matrix((int64_t)size * size, in, SAM3_F32),
                         .size = size,
                         .act = act,
                         .y = matrix((int64_t)4 * size * size, out, SAM3_F32)};
  struct tensor w = matrix((int64_t)4 * out, in, SAM3_F32);
  b.deconv = (struct deconv2x2){.w = w.data, .in = in, .out = out};
  char label[100];
  snprintf(label, sizeof label, "deconv2x2 %d x %d %d to %d", size, size, in, out);
  print_flops(bench, label, best_time(run_deconv, bench->dev, &b), 8.0 * size * size * in * out);
  free(b.x.data);
  free(b.y.data);
  free(w.data);
}

/* ---- operators bound by memory ---- */

struct rows_bench {
  struct tensor x, y, z;
  struct norm norm;
  const int32_t *index;
};
static void run_copy(struct device *dev, void *arg) {
  struct rows_bench *b = arg;
  dev->ops->gather_rows(dev, b->y, b->x, b->index, NULL);
}
static void run_layer_norm(struct device *dev, void *arg) {
  struct rows_bench *b = arg;
  dev->ops->layer_norm(dev, b->y, b->x, &b->norm);
}
static void run_group_norm(struct device *dev, void *arg) {
  struct rows_bench *b = arg;
  dev->ops->group_norm_relu(dev, b->y, b->x, 8, &b->norm, NULL);
}
static void run_add(struct device *dev, void *arg) {
  struct rows_bench *b = arg;
  dev->ops->add(dev, b->y, b->x, b->z);
}
static void run_mean(struct device *dev, void *arg) {
  struct rows_bench *b = arg;
  struct tensor y = b->y;
  y.rows = 1;
  dev->ops->mean_rows(dev, y, b->x);
}

static void bench_rows(struct bench *bench, int rows, int cols, bool print) {
  struct rows_bench b = {
      .x = matrix(rows, cols, SAM3_F32), .y = matrix(rows, cols, SAM3_F32), .z = matrix(rows, cols, SAM3_F32)};
  b.norm = (struct norm){.gain = b.z.data, .bias = b.z.data, .eps = 1e-5f};
  int32_t *index = malloc((size_t)rows * sizeof *index);
  if (!index)
    exit(1);
  for (int i = 0; i < rows; i++)
    index[i] = i;
  b.index = index;
  double bytes = 4.0 * rows * cols, copy = best_time(run_copy, bench->dev, &b);
  bench->bandwidth = 2 * bytes / copy;
  if (print) {
    printf("%d x %d:\n", rows, cols);
    print_bytes(bench, "gather_rows (the copy)", copy, 2 * bytes);
    print_bytes(bench, "layer_norm", best_time(run_layer_norm, bench->dev, &b), 2 * bytes);
    print_bytes(bench, "group_norm_relu", best_time(run_group_norm, bench->dev, &b), 3 * bytes);
    print_bytes(bench, "add", best_time(run_add, bench->dev, &b), 3 * bytes);
    print_bytes(bench, "mean_rows", best_time(run_mean, bench->dev, &b), bytes);
  }
  free(b.x.data);
  free(b.y.data);
  free(b.z.data);
  free(index);
}

void bench_all(struct device *dev, const char *only) {
  struct bench bench = {.dev = dev};
#define WANTED(op) (!only || strcmp(only, op) == 0)
  bench.peak = dev->ops->measure_peak(dev);
  bench_rows(&bench, 20736, 256, WANTED("rows"));
  if (WANTED("rows")) {
    bench_rows(&bench, 5184, 1024, true);
    bench_rows(&bench, 196, 256, true);
  }
  printf("%s, %d threads: %.1f GFLOP/s, copy %.1f GB/s\n", dev->name, dev->threads, bench.peak * 1e-9,
         bench.bandwidth * 1e-9);
  if (WANTED("linear")) {
    bench_linear(&bench, "q", 5184, 1024, 1024, SAM3_F32, ACT_NONE, false);
    bench_linear(&bench, "up", 5184, 4736, 1024, SAM3_F32, ACT_GELU, false);
    bench_linear(&bench, "down", 5184, 1024, 4736, SAM3_F32, ACT_NONE, true);
    bench_linear(&bench, "up bf16", 5184, 4736, 1024, SAM3_BF16, ACT_GELU, false);
    bench_linear(&bench, "fusion q", 5184, 256, 256, SAM3_F32, ACT_NONE, false);
    bench_linear(&bench, "fusion up", 5184, 2048, 256, SAM3_F32, ACT_RELU, false);
    bench_linear(&bench, "fusion down", 5184, 256, 2048, SAM3_F32, ACT_NONE, true);
    bench_linear(&bench, "decoder", 201, 256, 256, SAM3_F32, ACT_NONE, false);
    bench_linear(&bench, "decoder up", 201, 2048, 256, SAM3_F32, ACT_RELU, false);
    bench_linear(&bench, "masks", 200, 82944, 256, SAM3_F32, ACT_NONE, false);
    bench_linear(&bench, "pixels", 82944, 256, 256, SAM3_F32, ACT_NONE, false);
    bench_linear(&bench, "demo", 196, 384, 96, SAM3_F32, ACT_GELU, false);
  }
  if (WANTED("linear") || WANTED("text")) {
    static const int rows[] = {1, 4, 8, 16, 32};
    for (int i = 0; i < 5; i++) {
      bench_linear(&bench, "text", rows[i], 1024, 1024, SAM3_F32, ACT_NONE, false);
      bench_linear(&bench, "text", rows[i], 4096, 1024, SAM3_F32, ACT_GELU, false);
      bench_linear(&bench, "text bf16", rows[i], 4096, 1024, SAM3_BF16, ACT_GELU, false);
    }
  }
  if (WANTED("attention")) {
    bench_attention(&bench, "global", 1, 16, 64, 5184, 5184, true, 0);
    bench_attention(&bench, "window", 9, 16, 64, 576, 576, true, 0);
    bench_attention(&bench, "fusion", 1, 8, 32, 5184, 5184, false, 0);
    bench_attention(&bench, "fusion text", 1, 8, 32, 5184, 5, false, 0);
    bench_attention(&bench, "decoder", 1, 8, 32, 201, 5184, false, 72);
    bench_attention(&bench, "decoder self", 1, 8, 32, 201, 201, false, 0);
    bench_attention(&bench, "text", 1, 16, 64, 32, 32, false, 0);
  }
  if (WANTED("conv3x3")) {
    bench_conv(&bench, 72, 256, 256, false);
    bench_conv(&bench, 144, 256, 256, true);
    bench_conv(&bench, 288, 256, 256, false);
    bench_conv(&bench, 288, 256, 256, true);
  }
  if (WANTED("deconv2x2")) {
    bench_deconv(&bench, 72, 1024, 512, ACT_GELU);
    bench_deconv(&bench, 144, 512, 256, ACT_NONE);
    bench_deconv(&bench, 72, 1024, 256, ACT_NONE);
  }
}
