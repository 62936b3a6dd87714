/* The network's input: the image resized to a square. */
#ifndef SAM3_IMAGE_RESIZE_H
#define SAM3_IMAGE_RESIZE_H

#include "image/image.h"

/* Antialiased bilinear resize to `out` uint8 [size, size, 3], bit-equal with PyTorch's interpolate(uint8,
 * mode="bilinear", antialias=True). The aspect ratio is not kept. SAM3_ERR_ARGUMENT unless 1 <= size <= 65536,
 * SAM3_ERR_MEMORY. */
sam3_status resize_square(const sam3_image *image, int size, uint8_t *out, struct sam3_error *err);

#endif
