#include "text/symbols.h"

#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#include "base/error.h"
#include "base/memory.h"

sam3_status symbols_init(struct symbols *symbols, size_t n, struct sam3_error *err) {
  symbols->n_slots = 16;
  while (symbols->n_slots / 2 < n)
    symbols->n_slots *= 2;
  symbols->slots = mem_zeroed(symbols->n_slots, sizeof *symbols->slots);
  symbols->used = mem_zeroed(MAX_SYMBOLS / 8, 1);
  if (!symbols->slots || !symbols->used)
    return fail_memory(err, symbols->n_slots * sizeof *symbols->slots, "the tokenizer's symbols");
  return SAM3_OK;
}

void symbols_free(struct symbols *symbols) {
  free(symbols->slots);
  free(symbols->used);
  *symbols = (struct symbols){0};
}

/* FNV-1a */
static uint64_t hash(uint64_t state, struct span text) {
  for (size_t i = 0; i < text.length; i++)
    state = (state ^ (unsigned char)text.at[i]) * 0x100000001b3u;
  return state;
}

static struct symbol *slot_of(const struct symbols *symbols, struct span head, struct span tail) {
  uint64_t key = hash(hash(0xcbf29ce484222325u, head), tail);
  for (size_t slot = key ^ key >> 32;; slot++) {
    struct symbol *symbol = &symbols->slots[slot & (symbols->n_slots - 1)];
    if (!symbol->name.at ||
        (symbol->name.length == head.length + tail.length && !memcmp(symbol->name.at, head.at, head.length) &&
         !memcmp(symbol->name.at + head.length, tail.at, tail.length)))
      return symbol;
  }
}

bool symbols_add(struct symbols *symbols, struct span name, int64_t id) {
  if (id < 0 || id >= MAX_SYMBOLS || symbols->used[id / 8] >> id % 8 & 1)
    return false;
  struct symbol *symbol = slot_of(symbols, name, (struct span){"", 0});
  if (symbol->name.at)
    return false;
  *symbol = (struct symbol){name, (int32_t)id};
  symbols->used[id / 8] |= (uint8_t)(1u << id % 8);
  return true;
}

int32_t symbols_find(const struct symbols *symbols, struct span head, struct span tail) {
  const struct symbol *symbol = slot_of(symbols, head, tail);
  return symbol->name.at ? symbol->id : -1;
}

void byte_symbols(struct byte_symbols *bytes) {
  /* Bytes that print in Latin-1 stand for themselves and come first; the others are U+0100 onwards. */
  unsigned n = 0, n_printing = 188;
  for (int others = 0; others < 2; others++)
    for (unsigned byte = 0; byte < 256; byte++) {
      bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
      if (prints == others)
        continue;
      char *name = bytes->names[byte];
      int length = u8_uctomb((uint8_t *)name, prints ? byte : 256 + n - n_printing, 2);
      memcpy(name + length, "</w>", 5);
      bytes->order[n++] = (uint8_t)byte;
    }
}

struct span byte_name(const struct byte_symbols *bytes, unsigned byte, bool last) {
  return (struct span){bytes->names[byte], strlen(bytes->names[byte]) - (last ? 0 : 4)};
}

sam3_status symbols_fill(const struct symbols *symbols, const char *source, struct bpe *bpe, struct sam3_error *err) {
  static const struct span none = {"", 0};
  bpe->start = symbols_find(symbols, START_TOKEN, none);
  bpe->end = symbols_find(symbols, END_TOKEN, none);
  if (bpe->start < 0 || bpe->end < 0)
    return fail(err, SAM3_ERR_FORMAT, "%s: the vocabulary lacks %s", source,
                bpe->start < 0 ? START_TOKEN.at : END_TOKEN.at);
  struct byte_symbols bytes;
  byte_symbols(&bytes);
  for (unsigned i = 0; i < 512; i++) {
    struct span name = byte_name(&bytes, i / 2, i % 2);
    int32_t id = symbols_find(symbols, name, none);
    if (id < 0)
      return fail(err, SAM3_ERR_FORMAT, "%s: the vocabulary lacks the symbol \"%.*s\"", source, (int)name.length,
                  name.at);
    (i % 2 ? bpe->last : bpe->inner)[i / 2] = id;
  }
  return SAM3_OK;
}
