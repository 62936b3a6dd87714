/* The network, one function a stage, in the order of the paper. D is config.dim, g the ViT's grid.
 *
 *   image ─► encode_vision ─► encode_neck ─► begin_prompts ─┐ image_features
 *   tokens ─► encode_text ─┐                                ▼
 *   boxes ─► encode_geometry ─► prompt ─► fuse ─► decode ─► score, pixel_embeddings ─► mask_logits
 *
 * Every value is float. Outputs are the caller's tensors; temporaries are taken from the run's arena and given back.
 *
 * A run may be split over the ranks of a group (run.h). Inputs and outputs are then in shared memory, but for texts and
 * prompts, which are short and which every rank computes and keeps for itself. */
#ifndef SAM3_MODEL_MODEL_H
#define SAM3_MODEL_MODEL_H

#include "model/run.h"

/* What is kept of an encoded image. */
struct image_features {
  struct tensor levels[NECK_LEVELS]; /* [16 g², D], [4 g², D], [g², D] */
  struct tensor fused; /* [g², D]: behind the fusion encoder's first self-attention, which no prompt moves */
  struct tensor cls;   /* [1, D]: the geometry token of prompts without boxes */
};

/* The decoder's answer to one prompt. */
struct decoded {
  struct tensor queries;  /* [Q, D], normed */
  struct tensor boxes;    /* [Q, 4]: cx, cy, w, h in 0..1 */
  struct tensor presence; /* [1, 1]: a logit */
};

#define MAX_BOXES 256 /* of a prompt */

/* A box prompt as the geometry encoder reads it. */
struct geometry_box {
  float cx, cy, w, h; /* 0..1 */
  bool positive;
};

/* image: device, uint8 [size, size, 3] -> y [g², vision dim], row-major over the grid. */
void encode_vision(struct run *r, struct tensor y, const uint8_t *image);

/* vision [g², vision dim] -> out->levels. */
void encode_neck(struct run *r, struct image_features *out, struct tensor vision);

/* levels -> fused and cls: what every prompt on the image would compute again. (In a split each rank's part of `fused`
 * is gathered nowhere: it alone goes on with it.) */
void begin_prompts(struct run *r, struct image_features *out);

/* n texts of lengths[i] <= context tokens, one behind the other in `ids` (host) -> y [sum of lengths, D]. */
void encode_text(struct run *r, struct tensor y, const int32_t *ids, const int *lengths, int n);

/* n boxes (host) -> y [n + 1, D]: a token a box, then CLS. */
void encode_geometry(struct run *r, struct tensor y, const struct image_features *image,
                     const struct geometry_box *boxes, int n);

/* image->fused and prompt [p, D] -> y [g², D]. */
void fuse(struct run *r, struct tensor y, const struct image_features *image, struct tensor prompt);

/* memory [g², D] (of fuse) and prompt -> out, whose tensors the caller has taken. */
void decode(struct run *r, struct decoded *out, struct tensor memory, struct tensor prompt);

/* y [Q, 1]: the dot products of queries and pooled prompt, not yet scaled and clamped. */
void score(struct run *r, struct tensor y, struct tensor queries, struct tensor prompt);

/* memory and prompt -> y [16 g², D]; memory is overwritten. (In a split y is not gathered: mask_logits takes each
 * rank's part.) */
void pixel_embeddings(struct run *r, struct tensor y, const struct image_features *image, struct tensor memory,
                      struct tensor prompt);

/* queries [n, D] and pixels [16 g², D] -> y [n, 16 g²], to each row of which offset [n, 1] must be added. `offset` and
 * `queries` are each rank's own in a split. */
void mask_logits(struct run *r, struct tensor y, struct tensor offset, struct tensor queries, struct tensor pixels);

/* ---- the stages joined (model.c) ---- */

/* pixels: host, uint8 [size, size, 3] -> out, whose tensors the caller has taken. */
void model_encode(struct run *r, struct image_features *out, const uint8_t *pixels);

struct model_prompt {
  struct tensor texts;      /* features of texts, as encode_text makes them */
  const int32_t *text_rows; /* host [n_text]: the rows of this prompt's tokens, those that are masked left out */
  int n_text;               /* 1 .. context */
  const struct geometry_box *boxes;
  int n_boxes; /* 0 .. MAX_BOXES */
};

/* The answer to a prompt but for its masks. */
struct model_answer {
  struct decoded decoded;
  struct tensor logits; /* [Q, 1], as score() has them */
  struct tensor tokens; /* [p, D]: the prompt */
  struct tensor memory; /* [g², D] */
};

/* Takes the tensors of `out` from the arena and leaves them there: the caller releases. */
void model_answer(struct run *r, struct model_answer *out, const struct image_features *image,
                  const struct model_prompt *prompt);

#endif
