/* Every size of the network, read from config.json and checked at the edge: code behind it need not check again. */
#ifndef SAM3_MODEL_CONFIG_H
#define SAM3_MODEL_CONFIG_H

#include "sam3.h"

#define CONFIG_MAX_LAYERS 512
/* Of every LayerNorm and GroupNorm: what Meta's code has, whatever layer_norm_eps says. */
#define CONFIG_NORM_EPS 1e-5f
/* Groups of the pixel decoder's GroupNorm. */
#define CONFIG_NORM_GROUPS 8
/* Meta's tokenizer never gives more. */
#define CONFIG_MAX_CONTEXT 32
#define CONFIG_MAX_IMAGE 8192 /* pixels of a side */

/* A stack of transformer layers; `heads` divides the width. */
struct config_stack {
  int layers; /* num_layers or num_hidden_layers */
  int heads;  /* num_attention_heads */
  int mlp;    /* intermediate_size */
};

/* vision_config.backbone_config: erf GELU, 3 channels, no bias in the patch projection. */
struct config_vision {
  struct config_stack stack;
  int dim;    /* hidden_size; dim / heads is a multiple of 4 (rotary pairs in x and y) */
  int image;  /* image_size: pixels a side */
  int patch;  /* patch_size */
  int grid;   /* image / patch, rounded down: tokens a side */
  int table;  /* pretrain_image_size / patch: a side of the position table, tiled over the grid */
  int window; /* window_size: tokens a side; may be larger than the grid */
  bool is_global[CONFIG_MAX_LAYERS]; /* global_attn_indexes: the other layers attend in windows */
  int last_global;                   /* its output goes to the neck; layers behind it do not count */
  float rope_theta;                  /* rope_parameters.rope_theta, or rope_theta */
};

/* text_config: CLIP's text model, causal, erf GELU. */
struct config_text {
  struct config_stack stack;
  int dim;       /* hidden_size */
  int vocab;     /* vocab_size */
  int positions; /* max_position_embeddings: rows of the position table */
  int context;   /* tokens a text has: min(positions, CONFIG_MAX_CONTEXT) */
};

struct config {
  struct config_vision vision;
  struct config_text text;
  int dim;                      /* width of the neck and of all that follows, a multiple of 8 */
  struct config_stack geometry; /* geometry_encoder_config, ReLU */
  int roi;                      /* its roi_size */
  struct config_stack fusion;   /* detr_encoder_config, ReLU */
  struct config_stack decoder;  /* detr_decoder_config, ReLU; its mlp is the scoring head's too */
  int queries;                  /* its num_queries */
  int mask_heads;               /* mask_decoder_config.num_attention_heads */
};

/* The published model, which is what transformers' Sam3Config() has: for checkpoints that come without config.json. */
struct config config_default(void);

/* Reads config.json: transformers' "sam3" or, under detector_config, "sam3_video". A missing key has the value of
 * config_default(); unknown keys do not matter. A value of the wrong type or outside its limits, or that asks for
 * something the network does not do (another activation, say): an error that names the file, the key with its path
 * and the value. SAM3_ERR_IO, _FORMAT (not JSON, wrong type), _UNSUPPORTED, _LIMIT, _MEMORY. */
sam3_status config_read(const char *path, struct config *out, struct sam3_error *err);

/* The same from memory; `name` is used in messages. */
sam3_status config_parse(const char *text, size_t size, const char *name, struct config *out, struct sam3_error *err);

/* The configuration that belongs to the checkpoint `path` (a directory or a file, as weights_open() takes it):
 * config.json in the directory or beside the file when there is one, config_default() otherwise. */
sam3_status config_of_checkpoint(const char *path, struct config *out, struct sam3_error *err);

#endif
