/* Attention without a matrix of scores in memory: blocks of keys, with the running maximum and denominator of online
 * softmax (Milakov and Gimelshein 2018; Dao et al., "FlashAttention", 2022), on the products' micro-kernel. */
#include <math.h>
#include <string.h>

#include "backend/cpu/kernels.h"

enum {
  MAX_KEYS = AP, /* keys in a block: a strip of MR queries' scores stays in the first-level cache */
#if defined(__AMX_BF16__)
  STRIPS = 4,   /* of MR queries that pass over a block of keys while it is in cache */
  TOGETHER = 1, /* of them share a panel of keys or values */
#else
  STRIPS = VL == 16 ? 8 : 16,
  TOGETHER = 2,
#endif
  MAX_DIM = AP,
  AHEAD = 16, /* rows: a head's part of one is too short for the processor to foresee the next */
};

struct flash {
  const struct attention *att;
  struct cpu_device *cpu;
  int64_t nq, nk, dim;
  int64_t depth;        /* dim, packed, filled up with zeros for the micro-kernel */
  int64_t dim_panels;   /* panels of NR columns of v */
  int64_t key_panels;   /* panels of NR keys */
  int64_t block_panels; /* of them in a block */
  int64_t blocks;       /* of keys */
  int64_t query_blocks;
  int64_t first_head, heads; /* (batch, head) pairs in hand; pair = batch * heads + head */
  int64_t packed_floats;     /* of one pair: keys, then values */
};

/* Row `row` of q or k, `dim` columns from `first`, turned as place `place` of the rotary table says and times `factor`;
 * packed, with zeros up to `depth`. `to` has room for MAX_DIM floats. */
static void load_row(const struct flash *flash, struct tensor t, int64_t batch_row, int64_t row, int64_t place,
                     int64_t first, float factor, float *to) {
  const struct attention *att = flash->att;
  const float *from = (const float *)t.data + (batch_row + row) * t.stride + first;
  int64_t dim = flash->dim;
  for (int64_t i = 0; i < dim; i += LINE)
    __builtin_prefetch(from + AHEAD * t.stride + i);
  if (att->rope_cos) {
    const float *cosine = att->rope_cos + place * (dim / 2), *sine = att->rope_sin + place * (dim / 2);
    for (int64_t i = 0; i < dim / 2; i++) {
      float a = from[2 * i], b = from[2 * i + 1];
      to[2 * i] = (a * cosine[i] - b * sine[i]) * factor;
      to[2 * i + 1] = (b * cosine[i] + a * sine[i]) * factor;
    }
  } else {
    for (int64_t i = 0; i < dim; i++)
      to[i] = from[i] * factor;
  }
#ifdef PAIRS
  pack_row(to, to, dim, flash->depth);
#else
  for (int64_t i = dim; i < flash->depth; i++)
    to[i] = 0;
#endif
}

/* Keys: panels [depth][NR]. Values: for each block, dim_panels panels [keys of the block, packed][NR]. */
static float *packed_keys(const struct flash *flash, int64_t pair, int64_t panel) {
  return flash->cpu->shared + (pair - flash->first_head) * flash->packed_floats + panel * NR * flash->depth;
}
static float *packed_values(const struct flash *flash, int64_t pair, int64_t block) {
  return packed_keys(flash, pair, flash->key_panels) +
         block * flash->block_panels * NR / PACKED * flash->dim_panels * NR;
}

static void pack_block(const struct flash *flash, int64_t pair, int64_t block) {
  const struct attention *att = flash->att;
  int64_t dim = flash->dim, first = pair % att->heads * dim, batch_row = pair / att->heads * flash->nk;
  int64_t panel0 = block * flash->block_panels, panel1 = min64(panel0 + flash->block_panels, flash->key_panels);
  float rows[NR][MAX_DIM];
  const float *from[NR];
  for (int64_t panel = panel0; panel < panel1; panel++) {
    for (int64_t j = 0; j < NR; j++) {
      int64_t key = panel * NR + j;
      from[j] = rows[j];
      if (key < flash->nk)
        load_row(flash, att->k, batch_row, key, key, first, 1, rows[j]);
      else
        memset(rows[j], 0, (size_t)flash->depth * sizeof(float));
    }
    V(pack_columns)(packed_keys(flash, pair, panel), from, flash->depth);
  }
  float *to = packed_values(flash, pair, block);
  for (int64_t p = 0; p < flash->dim_panels; p++) {
    const float *values = (const float *)att->v.data + batch_row * att->v.stride + first + p * NR;
    for (int64_t key = panel0 * NR; key < panel1 * NR; key += PACKED, to += NR) {
      vf v[PACKED][2];
      for (int64_t i = 0; i < PACKED; i++) {
        int64_t have = key + i < flash->nk ? dim - p * NR : 0;
        const float *value = have ? values + (key + i) * att->v.stride : values;
        __builtin_prefetch(value + AHEAD * att->v.stride);
        v[i][0] = vload_part(value, have);
        v[i][1] = vload_part(value + VL, have - VL);
      }
#ifdef PAIRS
      vstore(to, vpair_rows(v[0][0], v[1][0]));
      vstore(to + VL, vpair_rows(v[0][1], v[1][1]));
#else
      vstore(to, v[0][0]);
      vstore(to + VL, v[0][1]);
#endif
    }
  }
}

static void pack_items(void *job, int64_t begin, int64_t end, int worker) {
  const struct flash *flash = job;
  (void)worker;
  for (int64_t i = begin; i < end; i++)
    pack_block(flash, flash->first_head + i / flash->blocks, i % flash->blocks);
}

#define LOG2E 1.4426950408889634f

/* Adds the separable bias of one query to its scores of keys key0 .. key0 + keys - 1. */
static void add_bias(const struct flash *flash, int64_t query, int64_t head, int64_t key0, int64_t keys,
                     float *scores) {
  const struct attention *att = flash->att;
  const float *bias_y = att->bias_y + query * att->grid_h * att->heads + head;
  const float *bias_x = att->bias_x + query * att->grid_w * att->heads + head;
  int64_t y = key0 / att->grid_w, x = key0 % att->grid_w;
  for (int64_t j = 0; j < keys; y++, x = 0) {
    int64_t n = min64(att->grid_w - x, keys - j);
    float by = bias_y[y * att->heads];
    for (int64_t i = 0; i < n; i++)
      scores[j + i] += (by + bias_x[(x + i) * att->heads]) * LOG2E;
    j += n;
  }
}

/* A strip of MR queries: the rotated and scaled rows, and the state of their softmax. */
struct strip {
  float q[MR * AP];
  float out[MR * AP]; /* the weighted sum of values so far, relative to 2^max */
  float max[MR], sum[MR];
};

/* Turns the scores of one query against a block of keys, of which it sees `seen`, into packed weights, and rescales
 * what it has gathered when the maximum has grown. */
static void softmax_row(struct strip *strip, int64_t i, float *scores, int64_t keys, int64_t seen, int64_t out_cols) {
  for (int64_t j = seen > 0 ? seen : 0; j < keys; j++)
    scores[j] = -INFINITY;
  vf old = vset(strip->max[i]), m0 = old, m1 = old;
  for (int64_t j = 0; j < keys; j += NR) {
    m0 = vmax(m0, vload(scores + j));
    m1 = vmax(m1, vload(scores + j + VL));
  }
  vf max = vmax_all(vmax(m0, m1)), sum0 = {0}, sum1 = {0};
  for (int64_t j = 0; j < keys; j += NR) {
    vf p0 = vexp2(vload(scores + j) - max), p1 = vexp2(vload(scores + j + VL) - max);
#ifdef PAIRS
    vstore(scores + j / 2, vpair(p0, p1));
#else
    vstore(scores + j, p0);
    vstore(scores + j + VL, p1);
#endif
    sum0 += p0;
    sum1 += p1;
  }
  vf keep = vexp2(old - max);
  strip->sum[i] = strip->sum[i] * keep[0] + vsum(sum0 + sum1);
  strip->max[i] = max[0];
  if (keep[0] == 1)
    return;
  float *out = strip->out + i * AP;
  for (int64_t c = 0; c < out_cols; c += VL)
    vstore(out + c, vload(out + c) * keep);
}

/* `count` strips from query0 on against one block of keys: scores, softmax, weighted sum of values. The strips share
 * each panel of keys and of values while it is in the first-level cache. */
static void attend(const struct flash *flash, struct strip *strips, int64_t count, int64_t pair, int64_t query0,
                   int64_t block, float *scores) {
  const struct attention *att = flash->att;
  int64_t panel0 = block * flash->block_panels, panel1 = min64(panel0 + flash->block_panels, flash->key_panels);
  int64_t key0 = panel0 * NR, have = min64(panel1 * NR, flash->nk) - key0, keys = (panel1 - panel0) * NR;
  for (int64_t panel = panel0; panel < panel1; panel++) {
    for (int64_t s = 0; s < count; s++)
      micro_tile(strips[s].q, packed_keys(flash, pair, panel), flash->depth,
                 scores + s * MR * AP + (panel - panel0) * NR, AP, STORE_SET, NULL);
  }
  for (int64_t r = 0; r < count * MR; r++) {
    float *row = scores + r * AP;
    int64_t query = query0 + r;
    if (att->bias_y && query < flash->nq)
      add_bias(flash, query, pair % att->heads, key0, have, row);
    softmax_row(&strips[r / MR], r % MR, row, keys, att->causal ? min64(have, query + 1 - key0) : have,
                flash->dim_panels * NR);
  }
  const float *values = packed_values(flash, pair, block);
  for (int64_t p = 0; p < flash->dim_panels; p++) {
    for (int64_t s = 0; s < count; s++)
      micro_tile(scores + s * MR * AP, values + p * keys / PACKED * NR, keys / PACKED, strips[s].out + p * NR, AP,
                 STORE_ADD, NULL);
  }
}

static void query_block(const struct flash *flash, int64_t pair, int64_t index, float *scratch) {
  const struct attention *att = flash->att;
  struct strip *strips = (struct strip *)scratch;
  float *scores = (float *)(strips + STRIPS);
  int64_t dim = flash->dim, first = pair % att->heads * dim, batch_row = pair / att->heads * flash->nq;
  int64_t query0 = index * STRIPS * MR, queries = min64(flash->nq - query0, STRIPS * MR), count = div_up(queries, MR);
  float factor = att->scale * LOG2E;
  for (int64_t s = 0; s < count; s++) {
    for (int64_t i = 0; i < MR; i++) {
      int64_t query = query0 + s * MR + i;
      if (query < flash->nq)
        load_row(flash, att->q, batch_row, query, att->first_query + query, first, factor, strips[s].q + i * AP);
      else
        memset(strips[s].q + i * AP, 0, (size_t)flash->depth * sizeof(float));
      strips[s].max[i] = -INFINITY;
      strips[s].sum[i] = 0;
      memset(strips[s].out + i * AP, 0, (size_t)(flash->dim_panels * NR) * sizeof(float));
    }
  }
  for (int64_t block = 0; block < flash->blocks; block++) {
    for (int64_t s = 0; s < count; s += TOGETHER) {
      int64_t together = min64(TOGETHER, count - s), q0 = query0 + s * MR;
      if (!att->causal || block * flash->block_panels * NR < q0 + together * MR)
        attend(flash, strips + s, together, pair, q0, block, scores);
    }
  }
  for (int64_t i = 0; i < queries; i++) {
    const struct strip *strip = &strips[i / MR];
    const float *from = strip->out + i % MR * AP;
    float *to = (float *)att->out.data + (batch_row + query0 + i) * att->out.stride + first;
    float scale = 1 / strip->sum[i % MR];
    for (int64_t c = 0; c < dim; c++)
      to[c] = from[c] * scale;
  }
}

static void query_items(void *job, int64_t begin, int64_t end, int worker) {
  const struct flash *flash = job;
  micro_begin();
  for (int64_t i = begin; i < end; i++)
    query_block(flash, flash->first_head + i / flash->query_blocks, i % flash->query_blocks,
                cpu_scratch(flash->cpu, worker));
  micro_end();
}

void V(attention)(struct device *dev, const struct attention *att) {
  struct flash flash = {.att = att,
                        .cpu = cpu_of(dev),
                        .nq = att->q.rows / att->batch,
                        .nk = att->k.rows / att->batch,
                        .dim = att->q.cols / att->heads};
  if (flash.nq == 0)
    return;
  flash.depth = round_up(div_up(flash.dim, PACKED), STEP);
  flash.dim_panels = div_up(flash.dim, NR);
  flash.key_panels = div_up(flash.nk, NR);
  flash.blocks = div_up(flash.key_panels, MAX_KEYS / NR);
  flash.block_panels = div_up(flash.key_panels, flash.blocks);
  flash.blocks = div_up(flash.key_panels, flash.block_panels);
  flash.query_blocks = div_up(flash.nq, STRIPS * MR);
  flash.packed_floats = flash.key_panels * NR * (flash.depth + flash.dim_panels * NR / PACKED);
  int64_t pairs = (int64_t)att->batch * att->heads, at_once = SHARED_FLOATS / flash.packed_floats;
  if (flash.dim > MAX_DIM || at_once == 0) {
    ref_ops.attention(dev, att);
    return;
  }
  for (; flash.first_head < pairs; flash.first_head += flash.heads) {
    flash.heads = min64(at_once, pairs - flash.first_head);
    pool_for(flash.cpu->pool, flash.heads * flash.blocks, 1, pack_items, &flash);
    pool_for(flash.cpu->pool, flash.heads * flash.query_blocks, 1, query_items, &flash);
  }
}
