#include "text/bpe.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

static size_t slot_of(const struct bpe *bpe, int32_t left, int32_t right) {
  uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  size_t slot = (key * 0x9e3779b97f4a7c15u >> 32) & (bpe->n_slots - 1);
  while (bpe->merges[slot].result >= 0 && (bpe->merges[slot].left != left || bpe->merges[slot].right != right))
    slot = (slot + 1) & (bpe->n_slots - 1);
  return slot;
}

sam3_status bpe_init(struct bpe *bpe, size_t n, struct sam3_error *err) {
  bpe->n_slots = 16;
  while (bpe->n_slots / 2 < n)
    bpe->n_slots *= 2;
  bpe->merges = mem_resize(NULL, bpe->n_slots, sizeof *bpe->merges);
  if (!bpe->merges)
    return fail_memory(err, bpe->n_slots * sizeof *bpe->merges, "the tokenizer's merges");
  for (size_t i = 0; i < bpe->n_slots; i++)
    bpe->merges[i].result = -1;
  return SAM3_OK;
}

void bpe_add(struct bpe *bpe, struct merge merge) {
  bpe->merges[slot_of(bpe, merge.left, merge.right)] = merge;
}

void bpe_free(struct bpe *bpe) {
  free(bpe->merges);
  *bpe = (struct bpe){0};
}

#define NONE UINT32_MAX

/* A word on its way from bytes to tokens: a linked list of symbols, and a heap of the pairs that may merge. */
struct word {
  const struct bpe *bpe;
  int32_t *ids;            /* -1: merged into the symbol before */
  uint32_t *next, *before; /* the neighbours' places, NONE at the ends */
  uint32_t *changed;       /* places that the merges of the present rank have touched */
  uint64_t *heap;          /* rank << 32 | place of the left symbol: the lowest rank first, from left to right */
  size_t n_heap;
};

/* The merge of the symbol at `place` with the one behind it, or NULL. */
static const struct merge *merge_at(const struct word *word, uint32_t place) {
  if (word->ids[place] < 0 || word->next[place] == NONE)
    return NULL;
  const struct bpe *bpe = word->bpe;
  const struct merge *merge = &bpe->merges[slot_of(bpe, word->ids[place], word->ids[word->next[place]])];
  return merge->result >= 0 ? merge : NULL;
}

static void push(struct word *word, uint32_t place) {
  const struct merge *merge = merge_at(word, place);
  if (!merge)
    return;
  uint64_t key = (uint64_t)merge->rank << 32 | place;
  size_t i = word->n_heap++;
  for (; i && word->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
    word->heap[i] = word->heap[(i - 1) / 2];
  word->heap[i] = key;
}

static uint64_t pop(struct word *word) {
  uint64_t top = word->heap[0], key = word->heap[--word->n_heap];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < word->n_heap; i = child) {
    child += child + 1 < word->n_heap && word->heap[child + 1] < word->heap[child];
    if (word->heap[child] >= key)
      break;
    word->heap[i] = word->heap[child];
  }
  word->heap[i] = key;
  return top;
}

static void join(struct word *word, uint32_t place, int32_t result) {
  uint32_t gone = word->next[place], behind = word->next[gone];
  word->ids[place] = result;
  word->ids[gone] = -1;
  word->next[place] = behind;
  if (behind != NONE)
    word->before[behind] = place;
}

/* As the original: all pairs of the lowest rank merge, from left to right, before new pairs are looked at. */
static void merge_all(struct word *word) {
  while (word->n_heap) {
    uint32_t rank = (uint32_t)(word->heap[0] >> 32);
    size_t n_changed = 0;
    while (word->n_heap && word->heap[0] >> 32 == rank) {
      uint32_t place = (uint32_t)pop(word);
      const struct merge *merge = merge_at(word, place);
      if (!merge || merge->rank != rank)
        continue; /* a neighbour has merged since */
      join(word, place, merge->result);
      word->changed[n_changed++] = place;
    }
    for (size_t i = 0; i < n_changed; i++) {
      push(word, word->changed[i]);
      if (word->before[word->changed[i]] != NONE)
        push(word, word->before[word->changed[i]]);
    }
  }
}

sam3_status bpe_encode(const struct bpe *bpe, const uint8_t *bytes, size_t length, int32_t *ids, size_t capacity,
                       size_t *count, struct sam3_error *err) {
  /* Each merge takes a symbol away and pushes two pairs at most: the heap never exceeds 3 · length. */
  size_t unit = 3 * sizeof(uint64_t) + 3 * sizeof(uint32_t) + sizeof(int32_t);
  uint64_t *block = length < NONE ? mem_resize(NULL, length, unit) : NULL;
  if (!block)
    return fail_memory(err, length * unit, "a word");
  struct word word = {.bpe = bpe, .heap = block};
  word.next = (uint32_t *)(block + 3 * length);
  word.before = word.next + length;
  word.changed = word.before + length;
  word.ids = (int32_t *)(word.changed + length);

  for (uint32_t i = 0; i < length; i++) {
    word.ids[i] = i + 1 < length ? bpe->inner[bytes[i]] : bpe->last[bytes[i]];
    word.next[i] = i + 1 < length ? i + 1 : NONE;
    word.before[i] = i ? i - 1 : NONE;
  }
  for (uint32_t i = 0; i < length; i++)
    push(&word, i);
  merge_all(&word);

  size_t n = 0;
  for (uint32_t i = 0; i != NONE && n < capacity; i = word.next[i])
    ids[n++] = word.ids[i];
  *count += n;
  free(block);
  return SAM3_OK;
}
