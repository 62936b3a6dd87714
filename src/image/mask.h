/* From the network's mask logits to a mask of the image's size. */
#ifndef SAM3_IMAGE_MASK_H
#define SAM3_IMAGE_MASK_H

#include "sam3.h"

/* The run lengths and area of sigmoid(bilinear resize of `logits`, f32 [h, w], to [height, width]) > 0.5, with the
 * arithmetic of PyTorch's interpolate(mode="bilinear", align_corners=False). The full-size mask is never held: beside
 * `rle` it takes a copy of the logits and a few columns. A NaN is background. Free `rle` with rle_free; on failure it
 * is empty. SAM3_ERR_ARGUMENT, SAM3_ERR_LIMIT, SAM3_ERR_MEMORY. */
sam3_status mask_from_logits(const float *logits, int h, int w, int height, int width, struct sam3_rle *rle,
                             uint64_t *area, struct sam3_error *err);

#endif
