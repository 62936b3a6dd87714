/* Any bytes as a merges.txt beside a vocabulary that is right; a text is encoded with what is accepted. */
#include <string.h>

#include "../text/small_vocabulary.h"
#include "text/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char json[SMALL_SIZE];
  if (!*json)
    small_vocab_json(json);
  struct bpe bpe = {0};
  struct source vocab = {"vocab.json", json, strlen(json)}, merges = {"merges.txt", (const char *)data, size};
  if (vocabulary_from_pair(vocab, merges, &bpe, NULL) == SAM3_OK) {
    int32_t ids[8];
    size_t count = 0;
    bpe_encode(&bpe, (const uint8_t *)"ababathecataaaa", 15, ids, 8, &count, NULL);
  }
  bpe_free(&bpe);
  return 0;
}
