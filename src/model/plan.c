#include "model/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"

struct device_block {
  struct device_block *next;
  void *data;
  size_t size;
};

/* Keeps the first error; everything after it is a no-op. */
struct builder {
  struct plan *plan;
  const struct network *net;
  struct device *dev;
  sam3_status status;
  struct sam3_error *err;
};

static void *device_memory(struct builder *b, size_t size) {
  struct device_block *block = b->status == SAM3_OK ? mem_zeroed(1, sizeof *block) : NULL;
  void *data = block ? b->dev->ops->alloc(b->dev, size) : NULL;
  if (!data) {
    free(block);
    if (b->status == SAM3_OK)
      b->status = fail_memory(b->err, size, "the tables of a session");
    return NULL;
  }
  *block = (struct device_block){b->plan->blocks, data, size};
  b->plan->blocks = block;
  b->plan->bytes += size;
  return data;
}

/* Gives back device memory that was only needed for a while. */
static void discard(struct builder *b, const void *data) {
  if (b->status == SAM3_OK)
    b->status = b->dev->ops->sync(b->dev, b->err);
  for (struct device_block **at = &b->plan->blocks; *at; at = &(*at)->next) {
    struct device_block *block = *at;
    if (block->data == data) {
      *at = block->next;
      b->plan->bytes -= block->size;
      b->dev->ops->free(b->dev, block->data, block->size);
      free(block);
      return;
    }
  }
}

static void *host_memory(struct builder *b, size_t count, size_t size) {
  void *data = b->status == SAM3_OK ? mem_zeroed(count, size) : NULL;
  if (!data && b->status == SAM3_OK)
    b->status = fail_memory(b->err, count * size, "the tables of a session");
  return data;
}

/* Copies a host block to the device and frees it. */
static const void *uploaded(struct builder *b, void *host, size_t size) {
  void *data = host ? device_memory(b, size) : NULL;
  if (data)
    b->dev->ops->upload(b->dev, data, host, size);
  free(host);
  return data;
}

/* ------------------------------------------------------------------------------------ token order */

static void build_order(struct builder *b) {
  const struct config_vision *c = &b->net->config.vision;
  struct token_order *order = &b->plan->order;
  int side = (c->grid + c->window - 1) / c->window;
  *order =
      (struct token_order){.tokens = c->grid * c->grid, .windows = side * side, .per_window = c->window * c->window};
  size_t places = (size_t)order->windows * (size_t)order->per_window, tokens = (size_t)order->tokens;
  int32_t *cell = host_memory(b, tokens, sizeof *cell), *token = host_memory(b, tokens, sizeof *token);
  int32_t *padded = host_memory(b, places, sizeof *padded), *unpadded = host_memory(b, tokens, sizeof *unpadded);
  int32_t *cell_host = host_memory(b, tokens, sizeof *cell_host);
  int32_t n = 0;
  for (size_t place = 0; b->status == SAM3_OK && place < places; place++) {
    int window = (int)(place / (size_t)order->per_window), in_window = (int)(place % (size_t)order->per_window);
    int y = window / side * c->window + in_window / c->window, x = window % side * c->window + in_window % c->window;
    bool inside = y < c->grid && x < c->grid;
    padded[place] = inside ? n : -1;
    if (inside) {
      cell[n] = cell_host[n] = y * c->grid + x;
      token[y * c->grid + x] = n;
      unpadded[n++] = (int32_t)place;
    }
  }
  order->cell_host = cell_host;
  order->cell = uploaded(b, cell, tokens * sizeof *cell);
  order->token = uploaded(b, token, tokens * sizeof *token);
  if (places == tokens) { /* no window is cut */
    free(padded);
    free(unpadded);
  } else {
    order->padded = uploaded(b, padded, places * sizeof *padded);
    order->unpadded = uploaded(b, unpadded, tokens * sizeof *unpadded);
  }
}

static const int32_t *build_counting(struct builder *b, int32_t n) {
  int32_t *counting = host_memory(b, (size_t)n, sizeof *counting);
  for (int32_t i = 0; b->status == SAM3_OK && i < n; i++)
    counting[i] = i;
  return uploaded(b, counting, (size_t)n * sizeof *counting);
}

/* The position table, tiled over the grid and cut at the right and bottom. */
static void build_position_rows(struct builder *b) {
  const struct config_vision *c = &b->net->config.vision;
  size_t tokens = (size_t)b->plan->order.tokens;
  int32_t *row = host_memory(b, tokens, sizeof *row);
  for (size_t i = 0; b->status == SAM3_OK && i < tokens; i++) {
    int cell = b->plan->order.cell_host[i];
    row[i] = cell / c->grid % c->table * c->table + cell % c->grid % c->table;
  }
  b->plan->position_row = uploaded(b, row, tokens * sizeof *row);
}

/* Axial rotary table of n tokens at cells of a grid `side` wide: the first half of a head turns by x, the second by y,
 * both times `scale`, at frequencies theta^(-2i / (head dim / 2)). */
static struct rope_table build_rope(struct builder *b, size_t n, const int32_t *cell, int side, float scale) {
  const struct config_vision *c = &b->net->config.vision;
  size_t pairs = (size_t)(c->dim / c->stack.heads / 2), half = pairs / 2;
  float *cosine = host_memory(b, n * pairs, sizeof *cosine), *sine = host_memory(b, n * pairs, sizeof *sine);
  for (size_t i = 0; b->status == SAM3_OK && i < n * pairs; i++) {
    size_t token = i / pairs, pair = i % pairs;
    int at = cell ? cell[token] : (int)token;
    float position = (float)(pair < half ? at % side : at / side) * scale;
    float frequency = 1.0f / powf(c->rope_theta, (float)(2 * (pair % half)) / (float)pairs);
    cosine[i] = cosf(position * frequency);
    sine[i] = sinf(position * frequency);
  }
  struct rope_table table;
  table.cos = uploaded(b, cosine, n * pairs * sizeof *cosine);
  table.sin = uploaded(b, sine, n * pairs * sizeof *sine);
  return table;
}

/* DETR's sine encoding of the grid: y features, then x; positions 1-based over n + 1e-6, times 2π. */
static void build_sine(struct builder *b) {
  int grid = b->net->config.vision.grid, dim = b->net->config.dim, features = dim / 2;
  size_t count = (size_t)grid * (size_t)grid * (size_t)dim;
  float *sine = host_memory(b, count, sizeof *sine);
  for (size_t i = 0; b->status == SAM3_OK && i < count; i++) {
    int cell = (int)(i / (size_t)dim), f = (int)(i % (size_t)dim) % features;
    int at = (int)(i % (size_t)dim) < features ? cell / grid : cell % grid;
    float position = (float)(at + 1) / ((float)grid + 1e-6f) * (float)(2 * M_PI);
    float angle = position / powf(10000.0f, (float)(f / 2 * 2) / (float)features);
    sine[i] = f & 1 ? cosf(angle) : sinf(angle);
  }
  b->plan->sine =
      (struct tensor){(void *)uploaded(b, sine, count * sizeof *sine), SAM3_F32, (int64_t)grid * grid, dim, dim};
}

/* ----------------------------------------------------------------------------------- convolutions */

static float view_at(const struct tensor_view *v, size_t i) {
  const uint16_t *half = v->data;
  return v->dtype == SAM3_F32    ? ((const float *)v->data)[i]
         : v->dtype == SAM3_BF16 ? float_from_bf16(half[i])
                                 : float_from_f16(half[i]);
}

/* Taps of a stored transposed convolution [in, out, 2, 2] as [tap, in, out] or, `transposed`, [tap, out, in]. */
static float *deconv_taps(struct builder *b, const struct tensor_view *stored, bool transposed) {
  size_t in = (size_t)stored->dims[0], out = (size_t)stored->dims[1];
  float *taps = host_memory(b, 4 * in * out, sizeof *taps);
  for (size_t o = 0; b->status == SAM3_OK && o < out; o++)
    for (size_t i = 0; i < in; i++)
      for (size_t tap = 0; tap < 4; tap++)
        taps[tap * in * out + (transposed ? o * in + i : i * out + o)] = view_at(stored, (i * out + o) * 4 + tap);
  return taps;
}

static struct deconv2x2 plain_deconv(struct builder *b, const struct tensor_view *stored, const float *bias) {
  size_t size = 4 * (size_t)stored->dims[0] * (size_t)stored->dims[1] * sizeof(float);
  const float *w = uploaded(b, deconv_taps(b, stored, true), size);
  return (struct deconv2x2){.w = w, .b = bias, .in = (int)stored->dims[0], .out = (int)stored->dims[1]};
}

/* A transposed convolution and the 1 × 1 projection behind it are one linear map: its taps are P · Tᵀ for each tap T
 * [in, middle], its bias P · b + b'. */
static struct deconv2x2 projected_deconv(struct builder *b, const struct tensor_view *stored, const float *bias,
                                         const struct linear *projection) {
  int64_t in = stored->dims[0], middle = stored->dims[1], out = projection->w.rows;
  const float *taps = uploaded(b, deconv_taps(b, stored, false), (size_t)(4 * in * middle) * sizeof(float));
  float *w = device_memory(b, (size_t)(4 * in * out) * sizeof *w), *sum = device_memory(b, (size_t)out * sizeof *sum);
  float *wide = device_memory(b, (size_t)(out * middle) * sizeof *wide);
  const int32_t *rows = build_counting(b, (int32_t)out);
  if (b->status != SAM3_OK)
    return (struct deconv2x2){0};
  struct tensor p = {wide, SAM3_F32, out, middle, middle};
  b->dev->ops->gather_rows(b->dev, p, projection->w, rows, NULL);
  for (int tap = 0; tap < 4; tap++) {
    struct linear t = {.w = {(void *)(taps + tap * in * middle), SAM3_F32, in, middle, middle}};
    b->dev->ops->linear(b->dev, (struct tensor){w + tap * in * out, SAM3_F32, out, in, in}, p, &t, ACT_NONE, NULL);
  }
  struct tensor row = {(void *)bias, SAM3_F32, 1, middle, middle};
  b->dev->ops->linear(b->dev, (struct tensor){sum, SAM3_F32, 1, out, out}, row, projection, ACT_NONE, NULL);
  discard(b, taps);
  discard(b, wide);
  discard(b, rows);
  return (struct deconv2x2){.w = w, .b = sum, .in = (int)in, .out = (int)out};
}

static struct conv3x3 prepared(struct builder *b, const struct conv3x3 *stored) {
  struct conv3x3 conv = *stored;
  if (b->status == SAM3_OK)
    b->status = b->dev->ops->conv3x3_prepare(b->dev, &conv, b->err);
  if (b->status == SAM3_OK)
    b->plan->bytes += b->dev->ops->conv3x3_prepared_size(b->dev, (int)conv.w.rows, (int)conv.w.cols / 9);
  return conv;
}

/* Masks are E · (P x + b) for embeddings E and pixels x: (E · P) x + E · b needs no projection of the pixels. */
static void build_mask_projection(struct builder *b) {
  const struct linear *stored = &b->net->mask.projection;
  size_t dim = (size_t)stored->w.rows;
  struct tensor_view view = {.data = stored->w.data, .dtype = stored->w.dtype};
  float *transposed = host_memory(b, dim * dim, sizeof *transposed);
  for (size_t i = 0; b->status == SAM3_OK && i < dim * dim; i++)
    transposed[i % dim * dim + i / dim] = view_at(&view, i);
  void *w = (void *)uploaded(b, transposed, dim * dim * sizeof *transposed);
  b->plan->mask_projection = (struct linear){.w = {w, SAM3_F32, stored->w.rows, stored->w.rows, stored->w.rows}};
  b->plan->mask_projection_bias =
      (struct linear){.w = {(void *)stored->b, SAM3_F32, 1, stored->w.rows, stored->w.rows}};
}

static void build_references(struct builder *b) {
  struct tensor stored = b->net->decoder.references;
  struct tensor_view view = {.data = stored.data, .dtype = stored.dtype};
  size_t n = (size_t)(stored.rows * 4);
  b->plan->references = host_memory(b, n, sizeof(float));
  for (size_t i = 0; b->status == SAM3_OK && i < n; i++)
    b->plan->references[i] = 1 / (1 + expf(-view_at(&view, i)));
}

/* ------------------------------------------------------------------------------------------- plan */

sam3_status plan_create(struct plan *plan, const struct network *net, struct device *dev, struct sam3_error *err) {
  *plan = (struct plan){0};
  struct builder b = {plan, net, dev, SAM3_OK, err};
  const struct config_vision *c = &net->config.vision;
  build_order(&b);
  plan->counting =
      build_counting(&b, net->config.queries > CONFIG_MAX_CONTEXT ? net->config.queries : CONFIG_MAX_CONTEXT);
  build_position_rows(&b);
  plan->window_rope = build_rope(&b, (size_t)plan->order.per_window, NULL, c->window, 1);
  plan->grid_rope =
      build_rope(&b, (size_t)plan->order.tokens, plan->order.cell_host, c->grid, (float)c->window / (float)c->grid);
  build_sine(&b);
  plan->deconv[0] = plain_deconv(&b, &net->neck.deconv[0], net->neck.deconv_bias[0]);
  plan->deconv[1] = projected_deconv(&b, &net->neck.deconv[1], net->neck.deconv_bias[1], &net->neck.proj1[0]);
  plan->deconv[2] = projected_deconv(&b, &net->neck.deconv[2], net->neck.deconv_bias[2], &net->neck.proj1[1]);
  for (int i = 0; i < NECK_LEVELS; i++)
    plan->neck[i] = prepared(&b, &net->neck.proj2[i]);
  for (int i = 0; i < PIXEL_STAGES; i++)
    plan->pixel[i] = prepared(&b, &net->mask.conv[i]);
  build_mask_projection(&b);
  build_references(&b);
  if (b.status == SAM3_OK)
    b.status = dev->ops->sync(dev, err);
  if (b.status != SAM3_OK)
    plan_free(plan, dev);
  return b.status;
}

void plan_free(struct plan *plan, struct device *dev) {
  for (int i = 0; i < NECK_LEVELS; i++)
    dev->ops->conv3x3_release(dev, &plan->neck[i]);
  for (int i = 0; i < PIXEL_STAGES; i++)
    dev->ops->conv3x3_release(dev, &plan->pixel[i]);
  for (struct device_block *block = plan->blocks, *next; block; block = next) {
    next = block->next;
    dev->ops->free(dev, block->data, block->size);
    free(block);
  }
  free((void *)plan->order.cell_host);
  free(plan->references);
  *plan = (struct plan){0};
}
