/* What an image is: 8-bit RGB rows without padding. */
#ifndef SAM3_IMAGE_IMAGE_H
#define SAM3_IMAGE_IMAGE_H

#include <stdatomic.h>

#include "sam3.h"

struct sam3_image {
  int width, height;
  atomic_int references;
  uint64_t id;     /* no other image of this process has or had it */
  uint8_t *pixels; /* [height, width, 3] and IMAGE_PADDING bytes, so that a pixel can be read as 4 bytes */
};

#define IMAGE_PADDING 1

#define IMAGE_DEFAULT_MAX_PIXELS 100000000u
#define IMAGE_MAX_FILE_BYTES ((size_t)1 << 30)

/* An image whose pixels are not set, of at least 1 x 1. `name` is used in messages only; `max_pixels` as for
 * sam3_image_decode. Free with sam3_image_free. SAM3_ERR_FORMAT, SAM3_ERR_LIMIT, SAM3_ERR_MEMORY. */
sam3_status image_create(uint64_t width, uint64_t height, const char *name, uint64_t max_pixels, sam3_image **image,
                         struct sam3_error *err);

#endif
