/* Any bytes as a tokenizer.json; a text is encoded with what is accepted. */
#include <string.h>

#include "text/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct bpe bpe = {0};
  struct source json = {"tokenizer.json", (const char *)data, size};
  if (vocabulary_from_json(json, &bpe, NULL) == SAM3_OK) {
    int32_t ids[8];
    size_t count = 0;
    bpe_encode(&bpe, (const uint8_t *)"abaththecat", 11, ids, 8, &count, NULL);
  }
  bpe_free(&bpe);
  return 0;
}
