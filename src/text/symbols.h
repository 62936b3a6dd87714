/* The symbols of a byte-pair vocabulary by name: needed only while a vocabulary is read. */
#ifndef SAM3_TEXT_SYMBOLS_H
#define SAM3_TEXT_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sam3.h"
#include "text/bpe.h"

/* A piece of text that somebody else owns. */
struct span {
  const char *at;
  size_t length;
};

struct symbol {
  struct span name; /* `at` is NULL in an empty slot */
  int32_t id;
};

#define MAX_SYMBOLS (1 << 20) /* ids are below */

/* All zero is empty. */
struct symbols {
  struct symbol *slots; /* hash table by name */
  size_t n_slots;       /* a power of two */
  uint8_t *used;        /* a bit for each id */
};

/* Makes room for `n` symbols. */
sam3_status symbols_init(struct symbols *symbols, size_t n, struct sam3_error *err);
void symbols_free(struct symbols *symbols);

/* Adds one of the symbols; `name` must outlive the table. False when the name or the id is taken already, or the id is
 * not in 0..MAX_SYMBOLS-1. */
bool symbols_add(struct symbols *symbols, struct span name, int64_t id);

/* The id of the symbol named `head` followed by `tail`, or -1. */
int32_t symbols_find(const struct symbols *symbols, struct span head, struct span tail);

#define START_TOKEN ((struct span){"<|startoftext|>", 15})
#define END_TOKEN ((struct span){"<|endoftext|>", 13})

/* CLIP writes each byte as a printable character, and "</w>" behind the last of a word. */
struct byte_symbols {
  char names[256][8]; /* by byte, UTF-8 with the "</w>" */
  uint8_t order[256]; /* the bytes in CLIP's order */
};
void byte_symbols(struct byte_symbols *bytes);
/* The name of a byte within or at the end of a word; lives as long as `bytes`. */
struct span byte_name(const struct byte_symbols *bytes, unsigned byte, bool last);

/* Sets the special tokens and the bytes of `bpe`; `source` is named in messages. */
sam3_status symbols_fill(const struct symbols *symbols, const char *source, struct bpe *bpe, struct sam3_error *err);

#endif
