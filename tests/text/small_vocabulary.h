/* A vocabulary for tests: every byte symbol, ten merges, ids unlike CLIP's. */
#ifndef SAM3_TESTS_SMALL_VOCABULARY_H
#define SAM3_TESTS_SMALL_VOCABULARY_H

#include <stdio.h>
#include <string.h>

#include "text/symbols.h"

enum { SMALL_START = 3, SMALL_END = 5, SMALL_UNION = 2000 };

/* In order of rank. The first can only follow the second: a merge that makes a pair of lower rank. */
static const char *const small_merges[][2] = {{"ab", "a"},  {"a", "b"},      {"t", "h"}, {"th", "e</w>"},
                                              {"c", "a"},   {"ca", "t</w>"}, {"a", "a"}, {"aa", "a</w>"},
                                              {"aa", "aa"}, {"!", "?</w>"}};
#define N_SMALL_MERGES (int)(sizeof small_merges / sizeof *small_merges)

/* The ids of a byte within and at the end of a word. */
#define SMALL_INNER(byte) (100 + (byte))
#define SMALL_LAST(byte) (1000 + (byte))

static inline size_t add_json_symbol(char *out, size_t n, struct span name, int id) {
  n += (size_t)sprintf(out + n, ",\"");
  for (size_t i = 0; i < name.length; i++)
    n += (size_t)sprintf(out + n, name.at[i] == '"' || name.at[i] == '\\' ? "\\%c" : "%c", name.at[i]);
  return n + (size_t)sprintf(out + n, "\":%d", id);
}

#define SMALL_SIZE 16384

/* The JSON object of symbols and ids, SMALL_SIZE bytes at most. */
static inline void small_vocab_json(char out[SMALL_SIZE]) {
  struct byte_symbols bytes;
  byte_symbols(&bytes);
  size_t n = (size_t)sprintf(out, "{\"<|startoftext|>\":%d,\"<|endoftext|>\":%d", SMALL_START, SMALL_END);
  for (unsigned i = 0; i < 256; i++) {
    n = add_json_symbol(out, n, byte_name(&bytes, i, false), SMALL_INNER((int)i));
    n = add_json_symbol(out, n, byte_name(&bytes, i, true), SMALL_LAST((int)i));
  }
  for (int i = 0; i < N_SMALL_MERGES; i++)
    n += (size_t)sprintf(out + n, ",\"%s%s\":%d", small_merges[i][0], small_merges[i][1], SMALL_UNION + i);
  strcpy(out + n, "}");
}

/* The merges joined by `format`, which takes both symbols, with `separator` between. */
static inline void small_merges_text(char *out, const char *format, const char *separator) {
  *out = 0;
  for (int i = 0; i < N_SMALL_MERGES; i++) {
    out += sprintf(out, "%s", i ? separator : "");
    out += sprintf(out, format, small_merges[i][0], small_merges[i][1]);
  }
}

#endif
