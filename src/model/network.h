/* The weights of the network, by stage, as views into the checkpoint. Names follow the paper's stages; load.c holds the
 * tensor names. Shared by all sessions on a model and never changed after loading. */
#ifndef SAM3_MODEL_NETWORK_H
#define SAM3_MODEL_NETWORK_H

#include "backend/device.h"
#include "model/config.h"
#include "weights/weights.h"

struct attention_weights {
  struct linear q, k, v, o;
};

struct mlp_weights {
  struct linear up, down;
};

/* Multi-layer perceptrons of the heads: ReLU between the layers. */
#define HEAD_MAX_LAYERS 3
struct head_weights {
  struct linear layers[HEAD_MAX_LAYERS];
  int n;
};

/* Pre-norm layer of the ViT and of the text encoder. */
struct encoder_layer {
  struct norm norm1, norm2;
  struct attention_weights attention;
  struct mlp_weights mlp;
};

/* Pre-norm layer with cross-attention: geometry encoder and fusion encoder. */
struct cross_layer {
  struct norm norm1, norm2, norm3;
  struct attention_weights self, cross;
  struct mlp_weights mlp;
};

struct decoder_layer {
  struct attention_weights self, text, vision;
  struct norm self_norm, text_norm, vision_norm, mlp_norm; /* each after its part */
  struct mlp_weights mlp;
};

struct vision_weights {
  struct linear patch;    /* [dim, 3 * patch * patch], no bias */
  struct tensor position; /* [table * table, dim] */
  struct norm pre;
  struct encoder_layer *layers; /* [config.vision.stack.layers] */
};

/* The neck's levels of 4, 2 and 1 times the ViT's grid. As stored: deconv [in, out, 2, 2], proj1 1 × 1, proj2 3 × 3. */
#define NECK_LEVELS 3
struct neck_weights {
  struct tensor_view deconv[3]; /* level 0: dim -> dim / 2, then dim / 2 -> dim / 4; level 1: dim -> dim / 2 */
  const float *deconv_bias[3];
  struct linear proj1[NECK_LEVELS];
  struct conv3x3 proj2[NECK_LEVELS];
};

struct text_weights {
  struct tensor token, position; /* [vocab, dim], [positions, dim] */
  struct encoder_layer *layers;
  struct norm final;
  struct linear projection; /* to the detector's width */
};

struct geometry_weights {
  struct tensor label, cls; /* [2, D], [1, D] */
  struct linear direct;     /* 4 -> D */
  struct linear pool;       /* D * roi * roi -> D */
  struct linear position;   /* D + 2 -> D */
  struct norm vision_norm;
  struct linear final;
  struct norm prompt_norm, output_norm;
  struct cross_layer *layers;
};

struct decoder_weights {
  struct tensor queries, references, presence; /* [Q, D], [Q, 4] (logits), [1, D] */
  struct decoder_layer *layers;
  struct norm output_norm, presence_norm;
  struct head_weights box, presence_head, reference, bias_x, bias_y;
};

struct scoring_weights {
  struct head_weights prompt;
  struct norm prompt_norm;
  struct linear prompt_projection, query_projection;
};

#define PIXEL_STAGES 2 /* those that run: up to the neck's level 0 */
struct mask_weights {
  struct attention_weights prompt;
  struct norm prompt_norm;
  struct conv3x3 conv[PIXEL_STAGES];
  struct norm norm[PIXEL_STAGES];
  struct head_weights embed;
  struct linear projection; /* 1 × 1 over pixels */
};

struct network {
  struct config config;
  struct vision_weights vision;
  struct neck_weights neck;
  struct text_weights text;
  struct geometry_weights geometry;
  struct cross_layer *fusion;
  struct decoder_weights decoder;
  struct scoring_weights scoring;
  struct mask_weights mask;
  struct owned_block *owned; /* what is not a view: small tensors widened to float, layer tables */
};

/* Fetches every tensor that the configuration asks for, or, without `weights`, makes random ones from `seed` (scaled so
 * that activations stay finite). Views stay valid as long as `weights`. */
sam3_status network_load(struct network *net, const struct config *config, struct weights *weights, uint64_t seed,
                         struct sam3_error *err);
void network_free(struct network *net);

#endif
