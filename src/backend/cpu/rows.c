/* Operators that go over rows once: bound by memory, so each is one parallel pass (norms: two). */
#include <math.h>
#include <string.h>

#include "backend/cpu/kernels.h"

/* One operator's arguments, for all of them. */
struct rows {
  struct cpu_device *cpu;
  struct tensor y, x, b;
  const struct norm *norm;
  const int32_t *index;
  const float *fill;
  const uint8_t *image;
  int size, patch, groups;
  int64_t parts;   /* the rows are cut into so many parts, each with partial sums of its own */
  double *partial; /* [parts, 2, columns or groups] */
  float *scale, *shift;
};

static inline float *row_of(struct tensor t, int64_t row) {
  return (float *)t.data + row * t.stride;
}

/* Pieces of about 64 KB, and enough of them for every worker. */
static int64_t grain_of(const struct cpu_device *cpu, int64_t rows, int64_t cols) {
  int64_t by_size = 16384 / (cols > 0 ? cols : 1) + 1, by_worker = rows / (4 * cpu->device.threads) + 1;
  return by_size > by_worker ? by_size : by_size > 0 ? by_size : 1;
}

static void each_row(struct rows *job, pool_body *body) {
  pool_for(job->cpu->pool, job->y.rows, grain_of(job->cpu, job->y.rows, job->y.cols), body, job);
}

/* ---- layer norm ---- */

/* The mean is computed in two steps, of x and of what is left: its rounding would count where rows vary little about a
 * large mean. */
static void layer_norm_row(float *y, const float *x, int64_t n, const struct norm *norm) {
  vf sum = {0}, rest = {0}, squares = {0};
  for (int64_t c = 0; c < n; c += VL)
    sum += vload_part(x + c, n - c);
  float mean = vsum(sum) / (float)n;
  int64_t c = 0;
  for (; c + VL <= n; c += VL) {
    vf d = vload(x + c) - mean;
    rest += d;
    squares += d * d;
  }
  float left = vsum(rest), square = vsum(squares);
  for (; c < n; c++) {
    left += x[c] - mean;
    square += (x[c] - mean) * (x[c] - mean);
  }
  left /= (float)n;
  float scale = 1 / sqrtf(square / (float)n - left * left + norm->eps);
  for (c = 0; c + VL <= n; c += VL)
    vstore(y + c, (vload(x + c) - mean - left) * scale * vload(norm->gain + c) + vload(norm->bias + c));
  for (; c < n; c++)
    y[c] = (x[c] - mean - left) * scale * norm->gain[c] + norm->bias[c];
}

static void layer_norm_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct rows *job = arg;
  (void)worker;
  for (int64_t r = begin; r < end; r++)
    layer_norm_row(row_of(job->y, r), row_of(job->x, r), job->x.cols, job->norm);
}

static void layer_norm(struct device *dev, struct tensor y, struct tensor x, const struct norm *norm) {
  struct rows job = {.cpu = cpu_of(dev), .y = y, .x = x, .norm = norm};
  each_row(&job, layer_norm_items);
}

/* ---- group norm ---- */

/* Sums and sums of squares of each column over one part's rows, less the first row of x, which takes most of a common
 * mean out of the squares. In float over 64 rows at a time, in double beyond. */
static void column_sums(const struct rows *job, int64_t part, bool squares_too) {
  int64_t cols = job->x.cols, begin = job->x.rows * part / job->parts, end = job->x.rows * (part + 1) / job->parts;
  double *sums = job->partial + part * 2 * cols, *squares = sums + cols;
  const float *origin = row_of(job->x, 0);
  memset(sums, 0, (size_t)(2 * cols) * sizeof *sums);
  for (int64_t r0 = begin; r0 < end; r0 += 64) {
    int64_t r1 = r0 + 64 < end ? r0 + 64 : end;
    for (int64_t c = 0; c < cols; c += VL) {
      int64_t n = cols - c;
      vf sum = {0}, square = {0}, zero = squares_too ? vload_part(origin + c, n) : (vf){0};
      for (int64_t r = r0; r < r1; r++) {
        vf d = vload_part(row_of(job->x, r) + c, n) - zero;
        sum += d;
        square += d * d;
      }
      for (int64_t j = 0; j < VL && j < n; j++) {
        sums[c + j] += sum[j];
        squares[c + j] += square[j];
      }
    }
  }
}

static void group_sum_items(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  for (int64_t part = begin; part < end; part++)
    column_sums(arg, part, true);
}

static void group_norm_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct rows *job = arg;
  (void)worker;
  for (int64_t r = begin; r < end; r++) {
    const float *x = row_of(job->x, r);
    float *y = row_of(job->y, r);
    int64_t c = 0;
    for (; c + VL <= job->x.cols; c += VL)
      vstore(y + c, vmax(vload(x + c) * vload(job->scale + c) + vload(job->shift + c), (vf){0}));
    for (; c < job->x.cols; c++) {
      float v = x[c] * job->scale[c] + job->shift[c];
      y[c] = v < 0 ? 0 : v;
    }
  }
}

/* Joins the parts' column sums. */
static void join_parts(struct rows *job) {
  for (int64_t part = 1; part < job->parts; part++)
    for (int64_t i = 0; i < 2 * job->x.cols; i++)
      job->partial[i] += job->partial[part * 2 * job->x.cols + i];
}

struct moments {
  double mean, variance;
};

/* Of a group, from the column sums. */
static struct moments group_of(const struct rows *job, int64_t g) {
  int64_t cols = job->x.cols, width = cols / job->groups;
  const float *origin = row_of(job->x, 0);
  const double *sums = job->partial, *squares = sums + cols;
  double rows = (double)job->x.rows, mean = 0, variance = 0;
  for (int64_t c = g * width; c < (g + 1) * width; c++)
    mean += origin[c] + sums[c] / rows;
  mean /= (double)width;
  for (int64_t c = g * width; c < (g + 1) * width; c++) { /* about the group's mean */
    double column = sums[c] / rows, off = origin[c] + column - mean;
    variance += squares[c] / rows - column * column + off * off;
  }
  return (struct moments){mean, variance / (double)width};
}

/* Of a group, from its moments in several blocks of rows (Chan, Golub and LeVeque, 1979). */
static struct moments joined_group(struct tensor blocks, int64_t g, int64_t groups) {
  double rows = 0, mean = 0, variance = 0;
  for (int64_t i = 0; i < blocks.rows; i++) {
    const float *block = row_of(blocks, i);
    rows += block[0];
    mean += (double)block[0] * block[1 + g];
  }
  mean /= rows;
  for (int64_t i = 0; i < blocks.rows; i++) {
    const float *block = row_of(blocks, i);
    double off = block[1 + g] - mean;
    variance += block[0] * (block[1 + groups + g] + off * off);
  }
  return (struct moments){mean, variance / rows};
}

/* A scale and a shift for each column of a group. */
static void set_scales(struct rows *job, int64_t g, struct moments moments) {
  int64_t width = job->x.cols / job->groups;
  double scale = 1 / sqrt(moments.variance + job->norm->eps);
  for (int64_t c = g * width; c < (g + 1) * width; c++) {
    job->scale[c] = (float)(scale * job->norm->gain[c]);
    job->shift[c] = (float)(job->norm->bias[c] - moments.mean * scale * job->norm->gain[c]);
  }
}

/* Places the partial sums in the shared buffer: as many parts as there is room and use for. */
static bool place_partial(struct rows *job) {
  int64_t cols = job->x.cols, room = (SHARED_FLOATS - 2 * cols) / (4 * cols), parts = job->x.rows / 256 + 1;
  int64_t most = 4 * job->cpu->device.threads;
  job->parts = parts < most ? parts : most;
  job->parts = job->parts < room ? job->parts : room;
  job->partial = (double *)job->cpu->shared;
  job->scale = (float *)(job->partial + job->parts * 2 * cols);
  job->shift = job->scale + cols;
  return room > 0;
}

static void group_norm_relu(struct device *dev, struct tensor y, struct tensor x, int groups, const struct norm *norm,
                            const struct tensor *moments) {
  struct rows job = {.cpu = cpu_of(dev), .y = y, .x = x, .norm = norm, .groups = groups};
  if (!place_partial(&job)) {
    ref_ops.group_norm_relu(dev, y, x, groups, norm, moments);
    return;
  }
  if (!moments) {
    pool_for(job.cpu->pool, job.parts, 1, group_sum_items, &job);
    join_parts(&job);
  }
  for (int64_t g = 0; g < groups; g++)
    set_scales(&job, g, moments ? joined_group(*moments, g, groups) : group_of(&job, g));
  each_row(&job, group_norm_items);
}

static void group_moments(struct device *dev, struct tensor y, struct tensor x, int groups) {
  struct rows job = {.cpu = cpu_of(dev), .x = x, .groups = groups};
  float *to = row_of(y, 0);
  if (!x.rows || !place_partial(&job)) {
    ref_ops.group_moments(dev, y, x, groups);
    return;
  }
  pool_for(job.cpu->pool, job.parts, 1, group_sum_items, &job);
  join_parts(&job);
  to[0] = (float)x.rows;
  for (int64_t g = 0; g < groups; g++) {
    struct moments moments = group_of(&job, g);
    to[1 + g] = (float)moments.mean;
    to[1 + groups + g] = (float)moments.variance;
  }
}

/* ---- mean of rows ---- */

static void mean_items(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  for (int64_t part = begin; part < end; part++)
    column_sums(arg, part, false);
}

static void mean_rows(struct device *dev, struct tensor y, struct tensor x) {
  struct rows job = {.cpu = cpu_of(dev), .y = y, .x = x};
  if (!place_partial(&job)) {
    ref_ops.mean_rows(dev, y, x);
    return;
  }
  pool_for(job.cpu->pool, job.parts, 1, mean_items, &job);
  for (int64_t c = 0; c < x.cols; c++) {
    double sum = 0;
    for (int64_t part = 0; part < job.parts; part++)
      sum += job.partial[part * 2 * x.cols + c];
    row_of(y, 0)[c] = (float)(sum / (double)x.rows);
  }
}

/* ---- add, gather, patches ---- */

static void add_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct rows *job = arg;
  (void)worker;
  for (int64_t r = begin; r < end; r++) {
    const float *a = row_of(job->x, r), *b = row_of(job->b, job->b.rows == 1 ? 0 : r);
    float *y = row_of(job->y, r);
    int64_t c = 0;
    for (; c + VL <= job->y.cols; c += VL)
      vstore(y + c, vload(a + c) + vload(b + c));
    for (; c < job->y.cols; c++)
      y[c] = a[c] + b[c];
  }
}

static void add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
  struct rows job = {.cpu = cpu_of(dev), .y = y, .x = a, .b = b};
  each_row(&job, add_items);
}

static void gather_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct rows *job = arg;
  (void)worker;
  for (int64_t r = begin; r < end; r++) {
    float *y = row_of(job->y, r);
    size_t bytes = (size_t)job->y.cols * sizeof *y;
    if (job->index[r] >= 0)
      V(to_floats)(y, &job->x, job->index[r] * job->x.stride, job->y.cols, SAM3_F32);
    else if (job->fill)
      memcpy(y, job->fill, bytes);
    else
      memset(y, 0, bytes);
  }
}

static void gather_rows(struct device *dev, struct tensor y, struct tensor x, const int32_t *index, const float *fill) {
  struct rows job = {.cpu = cpu_of(dev), .y = y, .x = x, .index = index, .fill = fill};
  each_row(&job, gather_items);
}

static void patchify_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct rows *job = arg;
  (void)worker;
  int grid = job->size / job->patch;
  for (int64_t r = begin; r < end; r++) {
    int64_t row = job->index[r] / grid, col = job->index[r] % grid;
    const uint8_t *corner = job->image + (row * job->size + col) * job->patch * 3;
    float *out = row_of(job->y, r);
    for (int colour = 0; colour < 3; colour++)
      for (int y = 0; y < job->patch; y++)
        for (int x = 0; x < job->patch; x++)
          *out++ = ((float)corner[((int64_t)y * job->size + x) * 3 + colour] / 255.0f - 0.5f) / 0.5f;
  }
}

static void patchify(struct device *dev, struct tensor y, const uint8_t *image, int size, int patch,
                     const int32_t *index) {
  struct rows job = {.cpu = cpu_of(dev), .y = y, .image = image, .size = size, .patch = patch, .index = index};
  each_row(&job, patchify_items);
}

void V(install_rows)(struct device_ops *ops) {
  ops->layer_norm = layer_norm;
  ops->group_norm_relu = group_norm_relu;
  ops->group_moments = group_moments;
  ops->mean_rows = mean_rows;
  ops->add = add;
  ops->gather_rows = gather_rows;
  ops->patchify = patchify;
}
