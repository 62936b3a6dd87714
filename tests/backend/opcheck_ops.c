/* The cases of each operator: fixed shapes that reach every path, and random ones. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opcheck.h"

#define SEED_IS(check) ((unsigned long long)(check)->seed)

static sam3_dtype random_dtype(struct check *check) {
  return (sam3_dtype)random_int(check, 0, 2);
}

/* ---- linear ---- */

struct linear_case {
  int m, n, k;
};

static void check_linear_at(struct check *check, struct linear_case shape) {
  sam3_dtype dtype = random_dtype(check);
  enum activation act = (enum activation)random_int(check, 0, 2);
  int residual = random_int(check, 0, 2); /* none, apart, y itself */
  bool bias = random_int(check, 0, 3) > 0;
  struct buffer x = buffer_make(check, SAM3_F32, shape.m, shape.k);
  struct buffer w = buffer_make(check, dtype, shape.n, shape.k);
  buffer_round(&x, check->dev->dtype); /* devices may: now all must agree, whether they do or not */
  struct buffer r = buffer_make(check, SAM3_F32, shape.m, shape.n);
  struct buffer want = buffer_make(check, SAM3_F32, shape.m, shape.n), got = buffer_copy(&want);
  float *b = bias ? floats_make(check, shape.n) : NULL;
  struct linear lin = {.w = w.t, .b = b};
  check->ref->ops->linear(check->ref, want.t, x.t, &lin, act, !residual ? NULL : residual == 1 ? &r.t : &want.t);
  check->dev->ops->linear(check->dev, got.t, x.t, &lin, act, !residual ? NULL : residual == 1 ? &r.t : &got.t);
  expect_equal(check, &want, &got, 2e-6, "m %d n %d k %d weights %s act %d residual %d bias %d", shape.m, shape.n,
               shape.k, dtype_name(dtype), act, residual, bias);
  buffer_free(&x);
  buffer_free(&w);
  buffer_free(&r);
  free(b);
}

static void check_linear(struct check *check, int round) {
  static const struct linear_case fixed[] = {
      {1, 1, 1},       {1, 1024, 300},  {2, 33, 257},   {3, 64, 64},   {7, 17, 31},     {8, 256, 256},
      {9, 100, 1030},  {32, 96, 512},   {33, 200, 65},  {100, 1, 300}, {196, 64, 384},  {13, 1500, 8},
      {440, 264, 257}, {450, 520, 300}, {45, 70, 9000}, {513, 33, 50}, {600, 64, 1100}, {520, 40, 4000},
  };
  int count = (int)(sizeof fixed / sizeof *fixed);
  check_linear_at(check, round < count ? fixed[round]
                                       : (struct linear_case){random_int(check, 1, 80), random_int(check, 1, 90),
                                                              random_int(check, 1, 600)});
}

/* ---- attention ---- */

static void check_attention(struct check *check, int round) {
  static const int dims[] = {1, 2, 8, 16, 20, 32, 33, 64, 80, 128, 250, 256};
  int dim = round == 0 ? 300 : dims[random_int(check, 0, 11)], kind = round % 4; /* plain, causal, rope, bias */
  int batch = kind == 3 ? 1 : random_int(check, 1, 3), heads = random_int(check, 1, 4);
  int nq = random_int(check, 1, round % 3 ? 40 : 210), nk = random_int(check, 1, round % 5 ? 60 : 600);
  int grid_h = 0, grid_w = 0;
  if (kind == 2 && dim % 2)
    dim++;
  int first_query = 0;
  if (kind == 1 || kind == 2)
    nk = nq;
  if (kind == 2 && batch == 1) { /* the queries are some of the rows, perhaps none */
    first_query = random_int(check, 0, nk);
    nq = random_int(check, 0, nk - first_query);
  }
  if (kind == 3) {
    grid_h = random_int(check, 1, 20);
    grid_w = random_int(check, 1, 40);
    nk = grid_h * grid_w;
  }
  struct buffer q = buffer_make(check, SAM3_F32, (int64_t)batch * nq, (int64_t)heads * dim);
  struct buffer k = buffer_make(check, SAM3_F32, (int64_t)batch * nk, (int64_t)heads * dim);
  struct buffer v = buffer_make(check, SAM3_F32, (int64_t)batch * nk, (int64_t)heads * dim);
  struct buffer want = buffer_make(check, SAM3_F32, (int64_t)batch * nq, (int64_t)heads * dim);
  struct buffer got = buffer_copy(&want);
  float *angles = floats_make(check, (int64_t)nk * dim), *cosine = floats_make(check, (int64_t)nk * dim / 2),
        *sine = floats_make(check, (int64_t)nk * dim / 2);
  for (int64_t i = 0; i < (int64_t)nk * (dim / 2); i++) {
    cosine[i] = cosf(3 * angles[i]);
    sine[i] = sinf(3 * angles[i]);
  }
  float *bias_y = floats_make(check, (int64_t)nq * grid_h * heads),
        *bias_x = floats_make(check, (int64_t)nq * grid_w * heads);
  float sharpness = round % 7 == 6 ? 8 : 1; /* the error of a score grows with it */
  struct attention att = {.q = q.t,
                          .k = k.t,
                          .v = v.t,
                          .out = want.t,
                          .batch = batch,
                          .heads = heads,
                          .scale = 1 / sqrtf((float)dim) * sharpness,
                          .causal = kind == 1,
                          .first_query = first_query,
                          .grid_h = grid_h,
                          .grid_w = grid_w};
  if (kind == 2)
    att.rope_cos = cosine, att.rope_sin = sine;
  if (kind == 3)
    att.bias_y = bias_y, att.bias_x = bias_x;
  check->ref->ops->attention(check->ref, &att);
  att.out = got.t;
  check->dev->ops->attention(check->dev, &att);
  expect_equal(check, &want, &got, sharpness * (check->own_dtype == SAM3_BF16 ? 1e-2 : 3e-6),
               "batch %d heads %d dim %d queries %d (from %d) keys %d kind %d grid %d x %d", batch, heads, dim, nq,
               first_query, nk, kind, grid_h, grid_w);
  buffer_free(&q);
  buffer_free(&k);
  buffer_free(&v);
  free(angles);
  free(cosine);
  free(sine);
  free(bias_y);
  free(bias_x);
}

/* ---- norms ---- */

static void check_layer_norm(struct check *check, int round) {
  int rows = random_int(check, 1, 70), cols = round < 20 ? round + 1 : random_int(check, 1, 1100);
  struct buffer x = buffer_make(check, SAM3_F32, rows, cols);
  if (round % 3 == 2) /* a common offset, as deep networks have */
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < cols; j++)
        ((float *)x.t.data)[i * x.t.stride + j] += 30;
  struct buffer want = buffer_make(check, SAM3_F32, rows, cols), got = buffer_copy(&want);
  float *gain = floats_make(check, cols), *bias = floats_make(check, cols);
  struct norm norm = {.gain = gain, .bias = bias, .eps = 1e-5f};
  bool alias = round & 1;
  if (alias) {
    buffer_free(&want);
    buffer_free(&got);
    want = buffer_copy(&x);
    got = buffer_copy(&x);
  }
  check->ref->ops->layer_norm(check->ref, want.t, alias ? want.t : x.t, &norm);
  check->dev->ops->layer_norm(check->dev, got.t, alias ? got.t : x.t, &norm);
  expect_equal(check, &want, &got, round % 3 == 2 ? 1e-5 : 2e-6, "rows %d cols %d alias %d", rows, cols, alias);
  buffer_free(&x);
  free(gain);
  free(bias);
}

static void check_group_norm(struct check *check, int round) {
  int groups = random_int(check, 1, 8), cols = groups * random_int(check, 1, 40);
  int rows = round % 4 == 3 ? random_int(check, 500, 3000) : random_int(check, 1, 200);
  struct buffer x = buffer_make(check, SAM3_F32, rows, cols);
  if (round % 3 == 2)
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < cols; j++)
        ((float *)x.t.data)[i * x.t.stride + j] += 30;
  bool alias = round & 1;
  struct buffer want = alias ? buffer_copy(&x) : buffer_make(check, SAM3_F32, rows, cols), got = buffer_copy(&want);
  float *gain = floats_make(check, cols), *bias = floats_make(check, cols);
  struct norm norm = {.gain = gain, .bias = bias, .eps = 1e-5f};
  check->ref->ops->group_norm_relu(check->ref, want.t, alias ? want.t : x.t, groups, &norm, NULL);
  check->dev->ops->group_norm_relu(check->dev, got.t, alias ? got.t : x.t, groups, &norm, NULL);
  expect_equal(check, &want, &got, round % 3 == 2 ? 1e-5 : 2e-6, "rows %d cols %d groups %d alias %d", rows, cols,
               groups, alias);
  buffer_free(&x);
  free(gain);
  free(bias);
}

/* The rows in three blocks, the last or more of them empty: as if they were normed at once. */
static void check_group_moments(struct check *check, int round) {
  int groups = random_int(check, 1, 8), cols = groups * random_int(check, 1, 40);
  int rows = round % 4 == 3 ? random_int(check, 500, 3000) : random_int(check, 1, 200);
  int ends[4] = {0, random_int(check, 0, rows), rows, rows};
  struct buffer x = buffer_make(check, SAM3_F32, rows, cols), moments = buffer_make(check, SAM3_F32, 3, 1 + 2 * groups);
  if (round % 3 == 2)
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < cols; j++)
        ((float *)x.t.data)[i * x.t.stride + j] += 30;
  struct buffer want = buffer_make(check, SAM3_F32, rows, cols), got = buffer_copy(&want);
  float *gain = floats_make(check, cols), *bias = floats_make(check, cols);
  struct norm norm = {.gain = gain, .bias = bias, .eps = 1e-5f};
  check->ref->ops->group_norm_relu(check->ref, want.t, x.t, groups, &norm, NULL);
  for (int pass = 0; pass < 2; pass++) { /* the moments of all blocks, then the blocks */
    for (int i = 0; i < 3; i++) {
      struct tensor block = x.t, y = got.t, row = moments.t;
      block.data = (float *)x.t.data + ends[i] * x.t.stride;
      y.data = (float *)got.t.data + ends[i] * got.t.stride;
      row.data = (float *)moments.t.data + i * moments.t.stride;
      block.rows = y.rows = ends[i + 1] - ends[i];
      row.rows = 1;
      if (pass == 0)
        check->dev->ops->group_moments(check->dev, row, block, groups);
      else
        check->dev->ops->group_norm_relu(check->dev, y, block, groups, &norm, &moments.t);
    }
  }
  expect_equal(check, &want, &got, round % 3 == 2 ? 2e-5 : 3e-6,
               "rows %d, %d of them in the first block, cols %d groups %d", rows, ends[1], cols, groups);
  buffer_free(&x);
  buffer_free(&moments);
  free(gain);
  free(bias);
}

/* ---- rows ---- */

static void check_add(struct check *check, int round) {
  int rows = random_int(check, 1, 300), cols = random_int(check, 1, 300), alias = round % 3; /* none, a, b */
  int b_rows = alias != 2 && round % 4 == 3 ? 1 : rows;
  struct buffer a = buffer_make(check, SAM3_F32, rows, cols), b = buffer_make(check, SAM3_F32, b_rows, cols);
  struct buffer y = buffer_make(check, SAM3_F32, rows, cols);
  struct buffer want = buffer_copy(alias == 0 ? &y : alias == 1 ? &a : &b), got = buffer_copy(&want);
  check->ref->ops->add(check->ref, want.t, alias == 1 ? want.t : a.t, alias == 2 ? want.t : b.t);
  check->dev->ops->add(check->dev, got.t, alias == 1 ? got.t : a.t, alias == 2 ? got.t : b.t);
  expect_equal(check, &want, &got, 0, "rows %d cols %d alias %d b rows %d", rows, cols, alias, b_rows);
  buffer_free(&a);
  buffer_free(&b);
  buffer_free(&y);
}

static void check_gather(struct check *check, int round) {
  int rows = random_int(check, 1, 300), cols = random_int(check, 1, 300), from = random_int(check, 1, 50);
  sam3_dtype dtype = random_dtype(check);
  struct buffer x = buffer_make(check, dtype, from, cols);
  struct buffer want = buffer_make(check, SAM3_F32, rows, cols), got = buffer_copy(&want);
  float *fill = round % 2 ? floats_make(check, cols) : NULL;
  int32_t index[300];
  for (int i = 0; i < rows; i++)
    index[i] = random_int(check, -1, from - 1);
  check->ref->ops->gather_rows(check->ref, want.t, x.t, index, fill);
  check->dev->ops->gather_rows(check->dev, got.t, x.t, index, fill);
  expect_equal(check, &want, &got, 0, "rows %d cols %d from %d %s fill %d", rows, cols, from, dtype_name(dtype),
               fill != NULL);
  buffer_free(&x);
  free(fill);
}

static void check_mean(struct check *check, int round) {
  int rows = round % 4 == 3 ? random_int(check, 300, 3000) : random_int(check, 1, 80), cols = random_int(check, 1, 300);
  struct buffer x = buffer_make(check, SAM3_F32, rows, cols);
  struct buffer want = buffer_make(check, SAM3_F32, 1, cols), got = buffer_copy(&want);
  check->ref->ops->mean_rows(check->ref, want.t, x.t);
  check->dev->ops->mean_rows(check->dev, got.t, x.t);
  expect_equal(check, &want, &got, 1e-6, "rows %d cols %d", rows, cols);
  buffer_free(&x);
}

static void check_patchify(struct check *check, int round) {
  int patch = random_int(check, 1, 16), grid = random_int(check, 1, 9), size = patch * grid;
  int rows = round % 2 ? grid * grid : random_int(check, 1, 60);
  uint8_t *image = malloc((size_t)size * size * 3);
  int32_t index[81];
  if (!image)
    exit(1);
  for (int i = 0; i < size * size * 3; i++)
    image[i] = (uint8_t)random_bits(check);
  for (int i = 0; i < rows; i++)
    index[i] = random_int(check, 0, grid * grid - 1);
  struct buffer want = buffer_make(check, SAM3_F32, rows, 3 * patch * patch), got = buffer_copy(&want);
  check->ref->ops->patchify(check->ref, want.t, image, size, patch, index);
  check->dev->ops->patchify(check->dev, got.t, image, size, patch, index);
  expect_equal(check, &want, &got, 1e-7, "rows %d patch %d grid %d", rows, patch, grid);
  free(image);
}

/* ---- convolutions ---- */

static void check_conv3x3(struct check *check, int round) {
  int h = random_int(check, 1, 13), w = random_int(check, 1, 13), in = random_int(check, 1, 40),
      out = random_int(check, 1, 40);
  if (round == 1)
    in = 270, out = 70;
  bool coarse = round % 3 == 1, bias = round % 4 != 3;
  if (coarse)
    h += h & 1, w += w & 1;
  sam3_dtype dtype = random_dtype(check);
  struct buffer x = buffer_make(check, SAM3_F32, (int64_t)h * w, in);
  struct buffer c = buffer_make(check, SAM3_F32, coarse ? (int64_t)(h / 2) * (w / 2) : 1, in);
  struct buffer weights = buffer_make(check, dtype, out, (int64_t)in * 9);
  int first_row = round % 2 ? random_int(check, 0, h) : 0, rows = random_int(check, 0, h - first_row);
  if (round % 2 == 0)
    rows = h;
  struct buffer want = buffer_make(check, SAM3_F32, (int64_t)rows * w, out), got = buffer_copy(&want);
  float *b = bias ? floats_make(check, out) : NULL;
  struct conv3x3 conv = {.w = weights.t, .b = b};
  struct sam3_error err;
  check->ref->ops->conv3x3(check->ref, want.t, x.t, coarse ? &c.t : NULL, h, w, first_row, &conv);
  if (check->dev->ops->conv3x3_prepare(check->dev, &conv, &err) != SAM3_OK) {
    fprintf(stderr, "opcheck: %s\n", err.message);
    exit(1);
  }
  check->dev->ops->conv3x3(check->dev, got.t, x.t, coarse ? &c.t : NULL, h, w, first_row, &conv);
  check->dev->ops->conv3x3_release(check->dev, &conv);
  expect_equal(check, &want, &got, 1e-5, "h %d w %d rows %d from %d in %d out %d weights %s coarse %d bias %d", h, w,
               rows, first_row, in, out, dtype_name(dtype), coarse, bias);
  buffer_free(&x);
  buffer_free(&c);
  buffer_free(&weights);
  free(b);
}

static void check_deconv2x2(struct check *check, int round) {
  int h = random_int(check, 1, 12), w = random_int(check, 1, 12), in = random_int(check, 1, 90),
      out = random_int(check, 1, 90);
  enum activation act = (enum activation)(round % 3);
  bool bias = round % 4 != 3;
  struct buffer x = buffer_make(check, SAM3_F32, (int64_t)h * w, in);
  buffer_round(&x, check->dev->dtype);
  struct buffer want = buffer_make(check, SAM3_F32, (int64_t)4 * h * w, out), got = buffer_copy(&want);
  float *weights = floats_make(check, (int64_t)4 * out * in), *b = bias ? floats_make(check, out) : NULL;
  struct deconv2x2 deconv = {.w = weights, .b = b, .in = in, .out = out};
  check->ref->ops->deconv2x2(check->ref, want.t, x.t, h, w, &deconv, act);
  check->dev->ops->deconv2x2(check->dev, got.t, x.t, h, w, &deconv, act);
  expect_equal(check, &want, &got, 2e-6, "h %d w %d in %d out %d act %d bias %d", h, w, in, out, act, bias);
  buffer_free(&x);
  free(weights);
  free(b);
}

static const struct {
  const char *name;
  size_t offset; /* of the operator in the table */
  int rounds;
  void (*run)(struct check *check, int round);
} cases[] = {
    {"linear", offsetof(struct device_ops, linear), 60, check_linear},
    {"attention", offsetof(struct device_ops, attention), 60, check_attention},
    {"layer_norm", offsetof(struct device_ops, layer_norm), 60, check_layer_norm},
    {"group_norm_relu", offsetof(struct device_ops, group_norm_relu), 40, check_group_norm},
    {"group_moments", offsetof(struct device_ops, group_moments), 40, check_group_moments},
    {"add", offsetof(struct device_ops, add), 40, check_add},
    {"gather_rows", offsetof(struct device_ops, gather_rows), 40, check_gather},
    {"mean_rows", offsetof(struct device_ops, mean_rows), 40, check_mean},
    {"patchify", offsetof(struct device_ops, patchify), 30, check_patchify},
    {"conv3x3", offsetof(struct device_ops, conv3x3), 40, check_conv3x3},
    {"deconv2x2", offsetof(struct device_ops, deconv2x2), 30, check_deconv2x2},
};

void check_all(struct check *check, const char *only, uint64_t seed) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *ref = (const char *)&ref_ops + cases[i].offset, *dev = (const char *)check->dev->ops + cases[i].offset;
    bool overridden = memcmp(ref, dev, sizeof(void (*)(void))) != 0;
    if ((only && strcmp(only, cases[i].name) != 0) || !overridden)
      continue;
    check->op = cases[i].name;
    for (int round = 0; round < cases[i].rounds; round++) {
      check->seed = check->state = seed * 1000003 + (uint64_t)round;
      cases[i].run(check, round);
    }
  }
}
