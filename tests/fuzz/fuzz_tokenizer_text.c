/* Any bytes as a text for the built-in vocabulary. */
#include <stdlib.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct tokenizer *tokenizer;
  struct sam3_error err;
  if (!tokenizer && tokenizer_open(NULL, &tokenizer, &err))
    abort();
  int32_t ids[77];
  int count;
  sam3_status status = tokenizer_encode(tokenizer, (const char *)data, size, 77, ids, &count, &err);
  if (status == SAM3_OK && (count < 2 || count > 77 || ids[0] != 49406 || ids[count - 1] != 49407))
    abort();
  for (int i = 0; i < count; i++)
    if (ids[i] < 0 || ids[i] > 49407)
      abort();
  return 0;
}
