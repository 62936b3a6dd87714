/* Tensor names to weights: the only place that knows what the checkpoint calls things. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "model/network.h"

struct owned_block {
  struct owned_block *next;
  size_t pages; /* 0: from the heap, in one piece with this header */
  void *data;
};

/* Keeps the first error; everything after it is a no-op that returns zeros. */
struct loader {
  struct network *net;
  struct weights *weights; /* NULL: random */
  uint64_t random;
  sam3_status status;
  struct sam3_error *err;
};

struct name {
  char text[160];
};

__attribute__((format(printf, 1, 2))) static struct name name(const char *format, ...) {
  struct name n;
  va_list args;
  va_start(args, format);
  vsnprintf(n.text, sizeof n.text, format, args);
  va_end(args);
  return n;
}

/* Zeroed memory that lives as long as the network; large blocks come as pages. */
static void *own(struct loader *l, size_t size, const char *what) {
  if (l->status != SAM3_OK)
    return NULL;
  size_t header = 64, pages = size >= (1u << 20) ? size : 0;
  struct owned_block *block = mem_zeroed(1, header + (pages ? 0 : size));
  void *data = block ? pages ? mem_pages(pages) : (char *)block + header : NULL;
  if (!data) {
    free(block);
    l->status = fail_memory(l->err, size, what);
    return NULL;
  }
  *block = (struct owned_block){.next = l->net->owned, .pages = pages, .data = data};
  l->net->owned = block;
  return data;
}

/* xorshift64*: uniform in -1..1. */
static float next_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return (float)(int32_t)(*state * 2685821657736338717u >> 32) * 0x1p-31f;
}

static struct tensor_view random_view(struct loader *l, const char *tensor, int rank, const int64_t *dims) {
  struct tensor_view view = {.dtype = SAM3_F32, .rank = rank};
  int64_t count = 1;
  for (int i = 0; i < rank; i++)
    count *= view.dims[i] = dims[i];
  float *data = own(l, (size_t)count * sizeof *data, tensor);
  bool gain = strstr(tensor, "norm") && strstr(tensor, ".weight");
  float scale = gain ? 0.1f : sqrtf(3.0f / (float)(rank > 1 ? count / dims[0] : 100));
  for (int64_t i = 0; data && i < count; i++)
    data[i] = next_random(&l->random) * scale + (gain ? 1 : 0);
  view.data = data;
  return view;
}

static struct tensor_view get(struct loader *l, const char *tensor, int rank, const int64_t *dims) {
  struct tensor_view view = {0};
  if (l->status != SAM3_OK)
    return view;
  if (!l->weights)
    return random_view(l, tensor, rank, dims);
  l->status = weights_get(l->weights, tensor, rank, dims, &view, l->err);
  return view;
}

/* A tensor of any rank as a matrix of dims[0] rows. */
static struct tensor matrix(struct loader *l, const char *tensor, int rank, const int64_t *dims) {
  struct tensor_view view = get(l, tensor, rank, dims);
  int64_t cols = 1;
  for (int i = 1; i < rank; i++)
    cols *= dims[i];
  return (struct tensor){(void *)view.data, view.dtype, dims[0], cols, cols};
}

static struct tensor matrix2(struct loader *l, const char *tensor, int64_t rows, int64_t cols) {
  return matrix(l, tensor, 2, (int64_t[]){rows, cols});
}

/* A vector as float: in place when it is stored so. */
static const float *floats(struct loader *l, const char *tensor, int64_t n) {
  struct tensor_view view = get(l, tensor, 1, &n);
  if (l->status != SAM3_OK || view.dtype == SAM3_F32)
    return view.data;
  float *wide = own(l, (size_t)n * sizeof *wide, tensor);
  const uint16_t *half = view.data;
  for (int64_t i = 0; wide && i < n; i++)
    wide[i] = view.dtype == SAM3_BF16 ? float_from_bf16(half[i]) : float_from_f16(half[i]);
  return wide;
}

static const float *bias(struct loader *l, const char *prefix, int64_t n) {
  return floats(l, name("%s.bias", prefix).text, n);
}

static struct linear linear(struct loader *l, const char *prefix, int64_t out, int64_t in) {
  struct tensor w = matrix2(l, name("%s.weight", prefix).text, out, in);
  return (struct linear){w, bias(l, prefix, out)};
}

/* A convolution whose kernel covers its whole input, or a 1 × 1 one: a linear map of flattened patches. */
static struct linear patch_linear(struct loader *l, const char *prefix, int64_t out, int64_t in, int64_t kernel) {
  struct tensor w = matrix(l, name("%s.weight", prefix).text, 4, (int64_t[]){out, in, kernel, kernel});
  return (struct linear){w, bias(l, prefix, out)};
}

static struct conv3x3 conv3x3(struct loader *l, const char *prefix, int64_t dim) {
  struct linear lin = patch_linear(l, prefix, dim, dim, 3);
  return (struct conv3x3){.w = lin.w, .b = lin.b};
}

static struct norm norm(struct loader *l, const char *prefix, int64_t n) {
  const float *gain = floats(l, name("%s.weight", prefix).text, n);
  return (struct norm){gain, bias(l, prefix, n), CONFIG_NORM_EPS};
}

static struct attention_weights attention(struct loader *l, const char *prefix, const char *out, int64_t dim) {
  return (struct attention_weights){.q = linear(l, name("%s.q_proj", prefix).text, dim, dim),
                                    .k = linear(l, name("%s.k_proj", prefix).text, dim, dim),
                                    .v = linear(l, name("%s.v_proj", prefix).text, dim, dim),
                                    .o = linear(l, name("%s.%s", prefix, out).text, dim, dim)};
}

static struct mlp_weights mlp(struct loader *l, const char *prefix, int64_t dim, int64_t hidden) {
  return (struct mlp_weights){.up = linear(l, name("%s.fc1", prefix).text, hidden, dim),
                              .down = linear(l, name("%s.fc2", prefix).text, dim, hidden)};
}

/* n layers "<prefix>.layer1" and on: in -> hidden -> ... -> out. */
static struct head_weights head(struct loader *l, const char *prefix, int n, int64_t in, int64_t hidden, int64_t out) {
  struct head_weights h = {.n = n};
  for (int i = 0; i < n; i++)
    h.layers[i] = linear(l, name("%s.layer%d", prefix, i + 1).text, i == n - 1 ? out : hidden, i == 0 ? in : hidden);
  return h;
}

static void load_encoder_layer(struct loader *l, struct encoder_layer *layer, const char *prefix, const char *attn,
                               const char *out, int64_t dim, int64_t hidden) {
  *layer = (struct encoder_layer){.norm1 = norm(l, name("%s.layer_norm1", prefix).text, dim),
                                  .norm2 = norm(l, name("%s.layer_norm2", prefix).text, dim),
                                  .attention = attention(l, name("%s.%s", prefix, attn).text, out, dim),
                                  .mlp = mlp(l, name("%s.mlp", prefix).text, dim, hidden)};
}

static struct cross_layer *cross_layers(struct loader *l, const char *prefix, struct config_stack stack, int64_t dim) {
  struct cross_layer *layers = own(l, (size_t)stack.layers * sizeof *layers, prefix);
  for (int i = 0; layers && i < stack.layers; i++) {
    struct name p = name("%s.layers.%d", prefix, i);
    layers[i] = (struct cross_layer){.norm1 = norm(l, name("%s.layer_norm1", p.text).text, dim),
                                     .norm2 = norm(l, name("%s.layer_norm2", p.text).text, dim),
                                     .norm3 = norm(l, name("%s.layer_norm3", p.text).text, dim),
                                     .self = attention(l, name("%s.self_attn", p.text).text, "o_proj", dim),
                                     .cross = attention(l, name("%s.cross_attn", p.text).text, "o_proj", dim),
                                     .mlp = mlp(l, name("%s.mlp", p.text).text, dim, stack.mlp)};
  }
  return layers;
}

#define BACKBONE "vision_encoder.backbone"

static void load_vision(struct loader *l, struct vision_weights *v, const struct config_vision *c) {
  int64_t dim = c->dim, n = (int64_t)c->table * c->table;
  v->patch.w =
      matrix(l, BACKBONE ".embeddings.patch_embeddings.projection.weight", 4, (int64_t[]){dim, 3, c->patch, c->patch});
  struct tensor_view position = get(l, BACKBONE ".embeddings.position_embeddings", 3, (int64_t[]){1, n, dim});
  v->position = (struct tensor){(void *)position.data, position.dtype, n, dim, dim};
  v->pre = norm(l, BACKBONE ".layer_norm", dim);
  v->layers = own(l, (size_t)c->stack.layers * sizeof *v->layers, "the vision layers");
  for (int i = 0; v->layers && i < c->stack.layers; i++)
    load_encoder_layer(l, &v->layers[i], name(BACKBONE ".layers.%d", i).text, "attention", "o_proj", dim, c->stack.mlp);
}

#define FPN "vision_encoder.neck.fpn_layers"

static void load_neck(struct loader *l, struct neck_weights *n, int64_t in, int64_t dim) {
  static const char *const deconvs[3] = {FPN ".0.scale_layers.0", FPN ".0.scale_layers.2", FPN ".1.scale_layers.0"};
  const int64_t from[3] = {in, in / 2, in};
  for (int i = 0; i < 3; i++) {
    n->deconv[i] = get(l, name("%s.weight", deconvs[i]).text, 4, (int64_t[]){from[i], from[i] / 2, 2, 2});
    n->deconv_bias[i] = bias(l, deconvs[i], from[i] / 2);
  }
  const int64_t proj1_in[NECK_LEVELS] = {in / 4, in / 2, in};
  for (int i = 0; i < NECK_LEVELS; i++) {
    n->proj1[i] = patch_linear(l, name(FPN ".%d.proj1", i).text, dim, proj1_in[i], 1);
    n->proj2[i] = conv3x3(l, name(FPN ".%d.proj2", i).text, dim);
  }
}

#define TEXT "text_encoder.text_model"

static void load_text(struct loader *l, struct text_weights *t, const struct config_text *c, int64_t out) {
  t->token = matrix2(l, TEXT ".embeddings.token_embedding.weight", c->vocab, c->dim);
  t->position = matrix2(l, TEXT ".embeddings.position_embedding.weight", c->positions, c->dim);
  t->layers = own(l, (size_t)c->stack.layers * sizeof *t->layers, "the text layers");
  for (int i = 0; t->layers && i < c->stack.layers; i++)
    load_encoder_layer(l, &t->layers[i], name(TEXT ".encoder.layers.%d", i).text, "self_attn", "out_proj", c->dim,
                       c->stack.mlp);
  t->final = norm(l, TEXT ".final_layer_norm", c->dim);
  t->projection = linear(l, "text_projection", out, c->dim);
}

static void load_geometry(struct loader *l, struct geometry_weights *g, const struct config *c) {
  int64_t dim = c->dim;
  g->label = matrix2(l, "geometry_encoder.label_embed.weight", 2, dim);
  g->cls = matrix2(l, "geometry_encoder.cls_embed.weight", 1, dim);
  g->direct = linear(l, "geometry_encoder.boxes_direct_project", dim, 4);
  g->pool = patch_linear(l, "geometry_encoder.boxes_pool_project", dim, dim, c->roi);
  g->position = linear(l, "geometry_encoder.boxes_pos_enc_project", dim, dim + 2);
  g->vision_norm = norm(l, "geometry_encoder.vision_layer_norm", dim);
  g->final = linear(l, "geometry_encoder.final_proj", dim, dim);
  g->prompt_norm = norm(l, "geometry_encoder.prompt_layer_norm", dim);
  g->output_norm = norm(l, "geometry_encoder.output_layer_norm", dim);
  g->layers = cross_layers(l, "geometry_encoder", c->geometry, dim);
}

static struct decoder_layer decoder_layer(struct loader *l, const char *p, int64_t dim, int64_t hidden) {
  return (struct decoder_layer){.self = attention(l, name("%s.self_attn", p).text, "o_proj", dim),
                                .text = attention(l, name("%s.text_cross_attn", p).text, "o_proj", dim),
                                .vision = attention(l, name("%s.vision_cross_attn", p).text, "o_proj", dim),
                                .self_norm = norm(l, name("%s.self_attn_layer_norm", p).text, dim),
                                .text_norm = norm(l, name("%s.text_cross_attn_layer_norm", p).text, dim),
                                .vision_norm = norm(l, name("%s.vision_cross_attn_layer_norm", p).text, dim),
                                .mlp_norm = norm(l, name("%s.mlp_layer_norm", p).text, dim),
                                .mlp = mlp(l, name("%s.mlp", p).text, dim, hidden)};
}

static void load_decoder(struct loader *l, struct decoder_weights *d, const struct config *c) {
  int64_t dim = c->dim, heads = c->decoder.heads;
  d->queries = matrix2(l, "detr_decoder.query_embed.weight", c->queries, dim);
  d->references = matrix2(l, "detr_decoder.reference_points.weight", c->queries, 4);
  d->presence = matrix2(l, "detr_decoder.presence_token.weight", 1, dim);
  d->layers = own(l, (size_t)c->decoder.layers * sizeof *d->layers, "the decoder layers");
  for (int i = 0; d->layers && i < c->decoder.layers; i++)
    d->layers[i] = decoder_layer(l, name("detr_decoder.layers.%d", i).text, dim, c->decoder.mlp);
  d->output_norm = norm(l, "detr_decoder.output_layer_norm", dim);
  d->presence_norm = norm(l, "detr_decoder.presence_layer_norm", dim);
  d->box = head(l, "detr_decoder.box_head", 3, dim, dim, 4);
  d->presence_head = head(l, "detr_decoder.presence_head", 3, dim, dim, 1);
  d->reference = head(l, "detr_decoder.ref_point_head", 2, 2 * dim, dim, dim);
  d->bias_x = head(l, "detr_decoder.box_rpb_embed_x", 2, 2, dim, heads);
  d->bias_y = head(l, "detr_decoder.box_rpb_embed_y", 2, 2, dim, heads);
}

static void load_scoring(struct loader *l, struct scoring_weights *s, int64_t dim, int64_t hidden) {
  s->prompt = head(l, "dot_product_scoring.text_mlp", 2, dim, hidden, dim);
  s->prompt_norm = norm(l, "dot_product_scoring.text_mlp_out_norm", dim);
  s->prompt_projection = linear(l, "dot_product_scoring.text_proj", dim, dim);
  s->query_projection = linear(l, "dot_product_scoring.query_proj", dim, dim);
}

static void load_mask(struct loader *l, struct mask_weights *m, int64_t dim) {
  m->prompt = attention(l, "mask_decoder.prompt_cross_attn", "o_proj", dim);
  m->prompt_norm = norm(l, "mask_decoder.prompt_cross_attn_norm", dim);
  for (int i = 0; i < PIXEL_STAGES; i++) {
    m->conv[i] = conv3x3(l, name("mask_decoder.pixel_decoder.conv_layers.%d", i).text, dim);
    m->norm[i] = norm(l, name("mask_decoder.pixel_decoder.norms.%d", i).text, dim);
  }
  m->embed.n = 3;
  for (int i = 0; i < 3; i++)
    m->embed.layers[i] = linear(l, name("mask_decoder.mask_embedder.layers.%d", i).text, dim, dim);
  m->projection = patch_linear(l, "mask_decoder.instance_projection", dim, dim, 1);
}

sam3_status network_load(struct network *net, const struct config *config, struct weights *weights, uint64_t seed,
                         struct sam3_error *err) {
  *net = (struct network){.config = *config};
  struct loader l = {net, weights, seed * 2 + 1, SAM3_OK, err};
  const struct config *c = &net->config;
  load_vision(&l, &net->vision, &c->vision);
  load_neck(&l, &net->neck, c->vision.dim, c->dim);
  load_text(&l, &net->text, &c->text, c->dim);
  load_geometry(&l, &net->geometry, c);
  net->fusion = cross_layers(&l, "detr_encoder", c->fusion, c->dim);
  load_decoder(&l, &net->decoder, c);
  load_scoring(&l, &net->scoring, c->dim, c->decoder.mlp);
  load_mask(&l, &net->mask, c->dim);
  if (l.status == SAM3_OK && weights)
    l.status = weights_check_all_used(weights, err);
  if (l.status != SAM3_OK)
    network_free(net);
  return l.status;
}

void network_free(struct network *net) {
  for (struct owned_block *block = net->owned, *next; block; block = next) {
    next = block->next;
    if (block->pages)
      mem_free_pages(block->data, block->pages);
    free(block);
  }
  *net = (struct network){0};
}
