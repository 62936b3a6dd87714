#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/clip_merges.h"
#include "text/symbols.h"

/* A span for "%.*s" in a message, cut short. */
#define SHOWN(span) (int)((span).length < 40 ? (span).length : 40), (span).at

static const struct span none = {"", 0};

/* Where a merge stands, for messages: "merges.txt: line 7", "tokenizer.json: model.merges[7]". */
struct place {
  const char *source, *before;
  size_t number;
  const char *after;
};
#define PLACE_FORMAT "%s: %s%zu%s"
#define PLACE(place) (place).source, (place).before, (place).number, (place).after

static sam3_status add_merge(const struct symbols *symbols, struct span left, struct span right, size_t rank,
                             struct place place, struct bpe *bpe, struct sam3_error *err) {
  struct merge merge = {symbols_find(symbols, left, none), symbols_find(symbols, right, none),
                        symbols_find(symbols, left, right), (uint32_t)rank};
  if (merge.left < 0 || merge.right < 0 || merge.result < 0)
    return fail(err, SAM3_ERR_FORMAT, PLACE_FORMAT " joins \"%.*s\" and \"%.*s\", but the vocabulary lacks %s",
                PLACE(place), SHOWN(left), SHOWN(right),
                merge.left < 0    ? "the first"
                : merge.right < 0 ? "the second"
                                  : "their union");
  bpe_add(bpe, merge);
  return SAM3_OK;
}

/* Splits "left right" at its only space. */
static bool split_pair(struct span pair, struct span *left, struct span *right) {
  const char *space = memchr(pair.at, ' ', pair.length);
  if (!space)
    return false;
  *left = (struct span){pair.at, (size_t)(space - pair.at)};
  *right = (struct span){space + 1, pair.length - left->length - 1};
  return left->length && right->length && !memchr(right->at, ' ', right->length);
}

/* ------------------------------------------------------------------------------------ merges.txt */

struct lines {
  const char *at, *end;
  size_t number; /* of the line read last, from 1 */
};

/* The next line that holds a merge: not the "#version" line, not an empty one. */
static bool next_merge(struct lines *lines, struct span *line) {
  while (lines->at < lines->end) {
    const char *newline = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
    const char *end = newline ? newline : lines->end;
    *line = (struct span){lines->at, (size_t)(end - lines->at)};
    lines->at = newline ? newline + 1 : end;
    lines->number++;
    if (line->length && line->at[line->length - 1] == '\r')
      line->length--;
    if (line->length && !(line->length >= 8 && !memcmp(line->at, "#version", 8)))
      return true;
  }
  return false;
}

static struct lines lines_of(struct source source) {
  return (struct lines){source.bytes, source.bytes + source.size, 0};
}

static size_t count_merges(struct source source) {
  struct lines lines = lines_of(source);
  struct span line;
  size_t n = 0;
  while (next_merge(&lines, &line))
    n++;
  return n;
}

static sam3_status read_merges(const struct symbols *symbols, struct source merges, struct bpe *bpe,
                               struct sam3_error *err) {
  TRY(bpe_init(bpe, count_merges(merges), err));
  struct lines lines = lines_of(merges);
  struct span line, left, right;
  for (size_t rank = 0; next_merge(&lines, &line); rank++) {
    struct place place = {merges.name, "line ", lines.number, ""};
    if (!split_pair(line, &left, &right))
      return fail(err, SAM3_ERR_FORMAT, PLACE_FORMAT " is \"%.*s\", not two symbols with a space between", PLACE(place),
                  SHOWN(line));
    TRY(add_merge(symbols, left, right, rank, place, bpe, err));
  }
  return SAM3_OK;
}

/* ------------------------------------------------------------------------------------------ JSON */

static struct span span_of(const json_t *string) {
  return (struct span){json_string_value(string), json_string_length(string)};
}

/* Reads an object of symbols to ids into `symbols`, with room for `extra` more; `field` is its name. */
static sam3_status read_vocab(json_t *vocab, struct source source, const char *field, size_t extra,
                              struct symbols *symbols, struct sam3_error *err) {
  if (!json_is_object(vocab))
    return fail(err, SAM3_ERR_FORMAT, "%s: %s is not an object of symbols and their ids", source.name, field);
  TRY(symbols_init(symbols, json_object_size(vocab) + extra, err));
  const char *name;
  json_t *id;
  json_object_foreach(vocab, name, id) {
    struct span span = {name, strlen(name)};
    if (!json_is_integer(id) || !symbols_add(symbols, span, json_integer_value(id)))
      return fail(err, SAM3_ERR_FORMAT, "%s: %s: the id of \"%.*s\" is not a number of its own from 0 to %d",
                  source.name, field, SHOWN(span), MAX_SYMBOLS - 1);
  }
  return SAM3_OK;
}

/* Adds the tokens of tokenizer.json's added_tokens that model.vocab lacks. */
static sam3_status read_added(const json_t *added, struct source source, struct symbols *symbols,
                              struct sam3_error *err) {
  size_t i;
  const json_t *token;
  json_array_foreach(added, i, token) {
    const json_t *content = json_object_get(token, "content"), *id = json_object_get(token, "id");
    if (!json_is_string(content) || !json_is_integer(id))
      return fail(err, SAM3_ERR_FORMAT, "%s: added_tokens[%zu] has no content and id", source.name, i);
    if (symbols_find(symbols, span_of(content), none) < 0 &&
        !symbols_add(symbols, span_of(content), json_integer_value(id)))
      return fail(err, SAM3_ERR_FORMAT, "%s: added_tokens[%zu]: the id is not a number of its own from 0 to %d",
                  source.name, i, MAX_SYMBOLS - 1);
  }
  return SAM3_OK;
}

/* A merge is "left right" or ["left", "right"]. */
static bool json_pair(const json_t *item, struct span *left, struct span *right) {
  if (json_is_string(item))
    return split_pair(span_of(item), left, right);
  const json_t *first = json_array_get(item, 0), *second = json_array_get(item, 1);
  if (json_array_size(item) != 2 || !json_is_string(first) || !json_is_string(second))
    return false;
  *left = span_of(first);
  *right = span_of(second);
  return left->length && right->length;
}

static sam3_status read_json_merges(const json_t *merges, struct source source, const struct symbols *symbols,
                                    struct bpe *bpe, struct sam3_error *err) {
  if (!json_is_array(merges))
    return fail(err, SAM3_ERR_FORMAT, "%s: model.merges is not an array", source.name);
  TRY(bpe_init(bpe, json_array_size(merges), err));
  size_t rank;
  const json_t *item;
  json_array_foreach(merges, rank, item) {
    struct place place = {source.name, "model.merges[", rank, "]"};
    struct span left, right;
    if (!json_pair(item, &left, &right))
      return fail(err, SAM3_ERR_FORMAT, PLACE_FORMAT " is not two symbols", PLACE(place));
    TRY(add_merge(symbols, left, right, rank, place, bpe, err));
  }
  return SAM3_OK;
}

/* Refuses what would need another algorithm than CLIP's. */
static sam3_status check_model(const json_t *model, struct source source, struct sam3_error *err) {
  static const char *const wanted[][2] = {{"type", "BPE"}, {"end_of_word_suffix", "</w>"}};
  for (size_t i = 0; i < 2; i++) {
    const json_t *value = json_object_get(model, wanted[i][0]);
    if (value && (!json_is_string(value) || strcmp(json_string_value(value), wanted[i][1])))
      return fail(err, SAM3_ERR_UNSUPPORTED, "%s: model.%s is not \"%s\"", source.name, wanted[i][0], wanted[i][1]);
  }
  return SAM3_OK;
}

static sam3_status read_tokenizer(const json_t *root, struct source json, struct symbols *symbols, struct bpe *bpe,
                                  struct sam3_error *err) {
  const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
  if (!json_is_object(model))
    return fail(err, SAM3_ERR_FORMAT, "%s: model is not an object", json.name);
  TRY(check_model(model, json, err));
  TRY(read_vocab(json_object_get(model, "vocab"), json, "model.vocab", json_array_size(added), symbols, err));
  TRY(read_added(added, json, symbols, err));
  TRY(symbols_fill(symbols, json.name, bpe, err));
  return read_json_merges(json_object_get(model, "merges"), json, symbols, bpe, err);
}

sam3_status vocabulary_from_json(struct source json, struct bpe *bpe, struct sam3_error *err) {
  json_t *root;
  TRY(json_parse(json.bytes, json.size, json.name, &root, err));
  struct symbols symbols = {0};
  sam3_status status = read_tokenizer(root, json, &symbols, bpe, err);
  symbols_free(&symbols);
  json_decref(root);
  return status;
}

/* Whether the files are CLIP's own to the byte, as transformers writes them. Parsing them would be a third of the time
 * of `sam3 segment` with the demo model; what the library carries holds the same. */
static bool is_built_in(struct source vocab, struct source merges) {
  return vocab.size == 862328 && merges.size == 524619 &&
         crc32(0, (const unsigned char *)vocab.bytes, (unsigned)vocab.size) == 0x8f76da1c &&
         crc32(0, (const unsigned char *)merges.bytes, (unsigned)merges.size) == 0x1691648b;
}

sam3_status vocabulary_from_pair(struct source vocab, struct source merges, struct bpe *bpe, struct sam3_error *err) {
  if (is_built_in(vocab, merges))
    return vocabulary_built_in(bpe, err);
  json_t *root;
  TRY(json_parse(vocab.bytes, vocab.size, vocab.name, &root, err));
  struct symbols symbols = {0};
  sam3_status status = read_vocab(root, vocab, "the document", 0, &symbols, err);
  if (status == SAM3_OK)
    status = symbols_fill(&symbols, vocab.name, bpe, err);
  if (status == SAM3_OK)
    status = read_merges(&symbols, merges, bpe, err);
  symbols_free(&symbols);
  json_decref(root);
  return status;
}

/* -------------------------------------------------------------------------------------- built in */

/* Adds CLIP's symbols in their order: the bytes, the bytes at the end of a word, the unions of the merges, the special
 * tokens. `names`, of merges.size bytes, takes the unions. */
static sam3_status add_clip_symbols(const struct byte_symbols *bytes, struct source merges, char *names,
                                    struct symbols *symbols, struct sam3_error *err) {
  int64_t id = 0;
  bool ok = true;
  for (int last = 0; last < 2; last++)
    for (unsigned i = 0; i < 256; i++)
      ok &= symbols_add(symbols, byte_name(bytes, bytes->order[i], last), id++);
  struct lines lines = lines_of(merges);
  struct span line, left, right;
  while (next_merge(&lines, &line)) {
    if (!split_pair(line, &left, &right))
      break; /* read_merges() tells */
    struct span name = {names, left.length + right.length};
    memcpy(names, left.at, left.length);
    memcpy(names + left.length, right.at, right.length);
    names += name.length;
    ok &= symbols_add(symbols, name, id++);
  }
  ok &= symbols_add(symbols, START_TOKEN, id++) && symbols_add(symbols, END_TOKEN, id);
  return ok ? SAM3_OK : fail(err, SAM3_ERR_FORMAT, "%s: a merge repeats", merges.name);
}

sam3_status vocabulary_built_in(struct bpe *bpe, struct sam3_error *err) {
  struct symbols symbols = {0};
  struct source merges = {"the built-in vocabulary", NULL, 0};
  struct byte_symbols bytes;
  char *text = NULL, *names = NULL;
  byte_symbols(&bytes);
  sam3_status status = clip_merges_unpack(&text, &merges.size, err);
  merges.bytes = text;
  if (status == SAM3_OK && !(names = mem_alloc(merges.size)))
    status = fail_memory(err, merges.size, merges.name);
  if (status == SAM3_OK)
    status = symbols_init(&symbols, 2 * 256 + count_merges(merges) + 2, err);
  if (status == SAM3_OK)
    status = add_clip_symbols(&bytes, merges, names, &symbols, err);
  if (status == SAM3_OK)
    status = symbols_fill(&symbols, merges.name, bpe, err);
  if (status == SAM3_OK)
    status = read_merges(&symbols, merges, bpe, err);
  symbols_free(&symbols);
  free(names);
  free(text);
  return status;
}
