/* safetensors: an input that begins with '{' is the header and data behind it, after the header's length, which is
 * told by the last '}'; any other is a whole file. */
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!size || data[0] != '{') {
    open_and_use(data, size);
    return 0;
  }
  const uint8_t *end = memrchr(data, '}', size);
  uint8_t *file = end ? malloc(size + 8) : NULL;
  if (!file)
    return 0;
  uint64_t length = (uint64_t)(end - data) + 1;
  for (int i = 0; i < 8; i++)
    file[i] = (uint8_t)(length >> (8 * i));
  memcpy(file + 8, data, size);
  open_and_use(file, size + 8);
  free(file);
  return 0;
}
