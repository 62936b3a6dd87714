/* Byte-pair encoding of one word: bytes become symbols, and neighbours merge in the order of the vocabulary's ranks. */
#ifndef SAM3_TEXT_BPE_H
#define SAM3_TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "sam3.h"

struct merge {
  int32_t left, right, result; /* ids; `result` is -1 in an empty slot */
  uint32_t rank;
};

/* All zero is empty. */
struct bpe {
  int32_t start, end;   /* ids of the special tokens */
  int32_t inner[256];   /* id of each byte within a word */
  int32_t last[256];    /* id of each byte at the end of a word */
  struct merge *merges; /* hash table by left and right */
  size_t n_slots;       /* a power of two */
};

/* Makes the table for `n` merges. */
sam3_status bpe_init(struct bpe *bpe, size_t n, struct sam3_error *err);
/* Adds one of the merges; the same pair again replaces it. */
void bpe_add(struct bpe *bpe, struct merge merge);
void bpe_free(struct bpe *bpe);

/* Encodes the `length` > 0 bytes of a word. Writes the first `capacity` ids at most and adds their number to `count`.
 * Time is O(length · log length). */
sam3_status bpe_encode(const struct bpe *bpe, const uint8_t *word, size_t length, int32_t *ids, size_t capacity,
                       size_t *count, struct sam3_error *err);

#endif
