/* What a device keeps beside the weights, made once when a session opens: the order of tokens, rotary tables, position
 * encodings, and convolutions in the device's own form. */
#ifndef SAM3_MODEL_PLAN_H
#define SAM3_MODEL_PLAN_H

#include "model/network.h"

/* Tokens of the ViT are kept window by window, row-major within a window, so that a window is a run of rows. Where the
 * grid is no multiple of the window, those at the right and bottom edge have fewer tokens; `padded` and `unpadded` then
 * lead to windows filled up with padding and back. */
struct token_order {
  int tokens;               /* grid * grid */
  int windows;              /* number of windows */
  int per_window;           /* window * window */
  const int32_t *cell;      /* [tokens]: the grid cell (row-major) of each token */
  const int32_t *token;     /* [tokens]: the token of each grid cell */
  const int32_t *padded;    /* [windows * per_window]: the token at each place, -1 for padding; NULL: no padding */
  const int32_t *unpadded;  /* [tokens]: the place of each token; NULL: no padding */
  const int32_t *cell_host; /* as `cell`, in host memory */
};

struct rope_table {
  const float *cos, *sin; /* [rows, head dim / 2] */
};

struct plan {
  struct token_order order;
  const int32_t *counting;                  /* 0, 1, 2, ... as far as queries and tokens of a text go */
  const int32_t *position_row;              /* [tokens]: row of the position table */
  struct rope_table window_rope, grid_rope; /* rows: [window * window], [tokens] */
  struct tensor sine;                       /* position encoding of the grid [grid * grid, D] */
  struct deconv2x2 deconv[3]; /* of the neck; the last of levels 0 and 1 with its 1 × 1 projection inside */
  struct conv3x3 neck[NECK_LEVELS], pixel[PIXEL_STAGES];
  struct linear mask_projection;      /* the mask head's 1 × 1 projection, transposed, without bias */
  struct linear mask_projection_bias; /* its bias as a map to 1 */
  float *references;                  /* host: the queries' first boxes [queries, 4], cx, cy, w, h in 0..1 */
  struct device_block *blocks;        /* device memory of all the above */
  uint64_t bytes;                     /* of that memory, and of the device's convolutions */
};

sam3_status plan_create(struct plan *plan, const struct network *net, struct device *dev, struct sam3_error *err);
void plan_free(struct plan *plan, struct device *dev);

#endif
