/* 3 × 3 convolution by Winograd's algorithm F(4 × 4, 3 × 3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
 * Networks", 2016): a tile of 6 × 6 inputs gives 4 × 4 outputs with 36 products a channel pair instead of 144, each of
 * the 36 a matrix product over tiles and channels.
 *
 * The interpolation points are 0, ±3/4, ±3/2 and infinity: a fifth of the error of the usual 0, ±1, ±2 (compare
 * Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution", 2018). */
#include <string.h>

#include "backend/cpu/kernels.h"
#include "base/error.h"
#include "base/memory.h"

enum {
  TILE = 6, /* inputs to a side */
  OUT = 4,  /* outputs to a side */
  POINTS = TILE * TILE,
  TILES = 24,                                         /* in a block; a multiple of MR */
  SUMS_FLOATS = SCRATCH_FLOATS - POINTS * TILES * AP, /* for the products of a block */
  MAX_COLS = SUMS_FLOATS / (POINTS * TILES) / NR * NR,
};

#define A1 0.75f     /* the points are ±A1 and ±2 A1 */
#define A2 (A1 * A1) /* and their powers */
#define A3 (A2 * A1)
#define A4 (A2 * A2)

struct conv_job {
  struct cpu_device *cpu;
  const struct conv3x3 *conv;
  struct tensor y, x;
  const struct tensor *coarse;
  int h, w, tiles_x;
  int row0, row1;       /* rows that are wanted */
  int64_t tile0, tiles; /* the first tile that has any, and the first behind those that have */
};

/* ---- weights: [point][panel of NR outputs][input][NR] ---- */

static int64_t weight_at(int64_t out, int64_t in, int64_t point, int64_t n, int64_t c) {
  return ((point * div_up(out, NR) + n / NR) * round_up(in, STEP) + c) * NR + n % NR;
}

/* G g: 3 weights to 6. */
static void weights_1d(float to[TILE], float g0, float g1, float g2) {
  float e = (g0 + A2 * g2) / (-6 * A4), o = A1 * g1 / (-6 * A4);
  float e2 = (g0 + 4 * A2 * g2) / (24 * A4), o2 = 2 * A1 * g1 / (24 * A4);
  to[0] = g0 / (4 * A4);
  to[1] = e + o;
  to[2] = e - o;
  to[3] = e2 + o2;
  to[4] = e2 - o2;
  to[5] = g2;
}

static void prepare_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct conv_job *job = arg;
  const struct tensor *w = &job->conv->w;
  int64_t out = w->rows, in = w->cols / 9;
  float *to = job->conv->prepared;
  (void)worker;
  for (int64_t n = begin; n < end; n++) {
    for (int64_t c = 0; c < in; c++) {
      float g[9], columns[3][TILE], rows[TILE];
      V(to_floats)(g, w, n * w->stride + c * 9, 9, job->cpu->device.dtype);
      for (int x = 0; x < 3; x++)
        weights_1d(columns[x], g[x], g[3 + x], g[6 + x]);
      for (int y = 0; y < TILE; y++) {
        weights_1d(rows, columns[0][y], columns[1][y], columns[2][y]);
        for (int x = 0; x < TILE; x++)
          to[weight_at(out, in, y * TILE + x, n, c)] = rows[x];
      }
    }
  }
}

static size_t prepared_size(const struct device *dev, int out, int in) {
  (void)dev;
  return (size_t)POINTS * (size_t)(round_up(out, NR) * round_up(in, STEP)) * sizeof(float);
}

static sam3_status prepare(struct device *dev, struct conv3x3 *conv, struct sam3_error *err) {
  struct conv_job job = {.cpu = cpu_of(dev), .conv = conv};
  size_t size = prepared_size(dev, (int)conv->w.rows, (int)(conv->w.cols / 9));
  conv->prepared = mem_pages(size); /* zeros, also where panels are filled up */
  if (!conv->prepared)
    return fail_memory(err, size, "the prepared weights of a convolution");
  pool_for(job.cpu->pool, conv->w.rows, NR, prepare_items, &job);
  return SAM3_OK;
}

static void release(struct device *dev, struct conv3x3 *conv) {
  mem_free_pages(conv->prepared, prepared_size(dev, (int)conv->w.rows, (int)(conv->w.cols / 9)));
  conv->prepared = NULL;
}

/* ---- transforms of tiles, VL channels at a time ---- */

/* Bᵀ d, of 6 values `stride` apart, in place. */
static inline __attribute__((always_inline)) void input_1d(vf *d, int stride) {
  vf d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride], d5 = d[5 * stride];
  vf e = d4 - 4 * A2 * d2, o = A1 * d3 - 4 * A3 * d1;
  vf e2 = d4 - A2 * d2, o2 = 2 * A1 * d3 - 2 * A3 * d1;
  d[0] = 4 * A4 * d0 - 5 * A2 * d2 + d4;
  d[stride] = e + o;
  d[2 * stride] = e - o;
  d[3 * stride] = e2 + o2;
  d[4 * stride] = e2 - o2;
  d[5 * stride] = 4 * A4 * d1 - 5 * A2 * d3 + d5;
}

/* Aᵀ m: the first 4 of 6 values become the outputs. */
static inline __attribute__((always_inline)) void output_1d(vf *m, int stride) {
  vf s = m[stride] + m[2 * stride], d = m[stride] - m[2 * stride];
  vf s2 = m[3 * stride] + m[4 * stride], d2 = m[3 * stride] - m[4 * stride], last = m[5 * stride];
  m[0] = m[0] + s + s2;
  m[stride] = A1 * d + 2 * A1 * d2;
  m[2 * stride] = A2 * s + 4 * A2 * s2;
  m[3 * stride] = A3 * d + 8 * A3 * d2 + last;
}

/* Channels c0 .. c0 + cols - 1 of tile `tile`, transformed, to row `slot` of the 36 panels. */
static void input_tile(const struct conv_job *job, int64_t tile, int64_t slot, int64_t c0, int64_t cols,
                       float *panels) {
  const float *from[POINTS], *coarse[POINTS];
  int row0 = (int)(tile / job->tiles_x) * OUT - 1, col0 = (int)(tile % job->tiles_x) * OUT - 1;
  for (int i = 0; i < POINTS; i++) {
    int row = row0 + i / TILE, col = col0 + i % TILE;
    bool in = tile < job->tiles && row >= 0 && row < job->h && col >= 0 && col < job->w;
    from[i] = in ? (const float *)job->x.data + ((int64_t)row * job->w + col) * job->x.stride + c0 : NULL;
    coarse[i] = in && job->coarse ? (const float *)job->coarse->data + c0 +
                                        ((int64_t)(row / 2) * (job->w / 2) + col / 2) * job->coarse->stride
                                  : NULL;
  }
  for (int64_t c = 0; c < round_up(cols, STEP); c += VL) {
    vf d[POINTS];
    for (int i = 0; i < POINTS; i++) {
      d[i] = from[i] ? vload_part(from[i] + c, cols - c) : (vf){0};
      if (coarse[i])
        d[i] += vload_part(coarse[i] + c, cols - c);
    }
    for (int i = 0; i < TILE; i++)
      input_1d(d + i, TILE);
    for (int i = 0; i < TILE; i++)
      input_1d(d + i * TILE, 1);
    for (int i = 0; i < POINTS; i++)
      vstore(panels + ((int64_t)i * TILES + slot) * AP + c, d[i]);
  }
}

/* Output channels n0 .. n0 + cols - 1 of a tile, from sums [36][TILES][stride]. */
static void output_tile(const struct conv_job *job, int64_t tile, int64_t slot, int64_t n0, int64_t cols,
                        const float *sums, int64_t stride) {
  int row0 = (int)(tile / job->tiles_x) * OUT, col0 = (int)(tile % job->tiles_x) * OUT;
  int skipped = job->row0 > row0 ? job->row0 - row0 : 0; /* rows of the tile that are not wanted */
  int rows = (int)min64(OUT, job->row1 - row0), row_cols = (int)min64(OUT, job->w - col0);
  for (int64_t c = 0; c < cols; c += VL) {
    int64_t n = cols - c;
    vf m[POINTS], b = job->conv->b ? vload_part(job->conv->b + n0 + c, n) : (vf){0};
    for (int i = 0; i < POINTS; i++)
      m[i] = vload(sums + ((int64_t)i * TILES + slot) * stride + c);
    for (int i = 0; i < TILE; i++)
      output_1d(m + i, TILE);
    for (int i = 0; i < OUT; i++)
      output_1d(m + i * TILE, 1);
    for (int y = skipped; y < rows; y++)
      for (int x = 0; x < row_cols; x++)
        vstore_part((float *)job->y.data + ((int64_t)(row0 + y - job->row0) * job->w + col0 + x) * job->y.stride + n0 +
                        c,
                    m[y * TILE + x] + b, n);
  }
}

/* ---- the operator ---- */

/* The 36 products of input channels c0 .. c0 + depth - 1 for output panels panel0 .. panel1 - 1. */
static void products(const struct conv_job *job, const float *panels, int64_t c0, int64_t depth, int64_t panel0,
                     int64_t panel1, float *sums, int64_t stride) {
  int64_t out = job->y.cols, in = job->x.cols;
  for (int64_t point = 0; point < POINTS; point++) {
    for (int64_t panel = panel0; panel < panel1; panel++) {
      const float *w = (const float *)job->conv->prepared + weight_at(out, in, point, panel * NR, c0);
      for (int64_t i = 0; i < TILES; i += MR) {
        float *to = sums + (point * TILES + i) * stride + (panel - panel0) * NR;
        micro_tile(panels + (point * TILES + i) * AP, w, round_up(depth, STEP), to, stride,
                   c0 == 0 ? STORE_SET : STORE_ADD, NULL);
      }
    }
  }
}

static void conv_block(const struct conv_job *job, int64_t tile0, float *scratch) {
  float *panels = scratch, *sums = scratch + POINTS * TILES * AP;
  int64_t in = job->x.cols, out = job->y.cols, all = div_up(out, NR), at_once = MAX_COLS / NR;
  for (int64_t panel0 = 0; panel0 < all; panel0 += at_once) {
    int64_t panel1 = min64(panel0 + at_once, all), stride = (panel1 - panel0) * NR;
    for (int64_t c0 = 0; c0 < in; c0 += AP) {
      int64_t depth = min64(AP, in - c0);
      if (in > AP || panel0 == 0)
        for (int64_t slot = 0; slot < TILES; slot++)
          input_tile(job, tile0 + slot, slot, c0, depth, panels);
      products(job, panels, c0, depth, panel0, panel1, sums, stride);
    }
    int64_t n0 = panel0 * NR, cols = min64(out - n0, stride);
    for (int64_t slot = 0; slot < min64(TILES, job->tiles - tile0); slot++)
      output_tile(job, tile0 + slot, slot, n0, cols, sums, stride);
  }
}

static void conv_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct conv_job *job = arg;
  for (int64_t i = begin; i < end; i++)
    conv_block(job, job->tile0 + i * TILES, cpu_scratch(job->cpu, worker));
}

/* Tiles lie as they do for the whole, so that a row comes out the same whatever part it is computed in. */
static void conv3x3(struct device *dev, struct tensor y, struct tensor x, const struct tensor *coarse, int h, int w,
                    int first_row, const struct conv3x3 *conv) {
  struct conv_job job = {.cpu = cpu_of(dev), .conv = conv, .y = y, .x = x, .coarse = coarse, .h = h, .w = w};
  job.tiles_x = (int)div_up(w, OUT);
  job.row0 = first_row;
  job.row1 = first_row + (int)(y.rows / w);
  job.tile0 = (int64_t)(job.row0 / OUT) * job.tiles_x;
  job.tiles = div_up(job.row1, OUT) * job.tiles_x;
  if (y.rows > 0)
    pool_for(job.cpu->pool, div_up(job.tiles - job.tile0, TILES), 1, conv_items, &job);
}

void V(install_conv)(struct device_ops *ops) {
  ops->conv3x3_prepared_size = prepared_size;
  ops->conv3x3_prepare = prepare;
  ops->conv3x3_release = release;
  ops->conv3x3 = conv3x3;
}
