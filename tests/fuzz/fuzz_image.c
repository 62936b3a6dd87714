/* Any bytes as a JPEG, PNG or WebP file: decoded, resized, freed. */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "image/resize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t square[32 * 32 * 3];
  sam3_image *image;
  struct sam3_error err = {0};
  sam3_status status = sam3_image_decode(data, size, "input", 1 << 20, &image, &err);
  if ((status == SAM3_OK) != (image != NULL) || (status != SAM3_OK && (err.status != status || !*err.message)))
    abort();
  if (image && resize_square(image, 32, square, &err) != SAM3_OK)
    abort();
  sam3_image_free(image);
  return 0;
}

/* Mutated PNG chunks get sound checksums, or nothing behind the checksums would be reached. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 == 0 || size < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8))
    return size;
  for (size_t at = 8; size - at >= 12;) {
    size_t length = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
    if (length > size - at - 12)
      break;
    uLong crc = crc32(0, data + at + 4, (uInt)length + 4);
    for (int i = 0; i < 4; i++)
      data[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    at += length + 12;
  }
  return size;
}
