/* Byte-pair vocabularies as checkpoints and the library itself carry them. */
#ifndef SAM3_TEXT_VOCABULARY_H
#define SAM3_TEXT_VOCABULARY_H

#include "text/bpe.h"

/* The bytes of a file, and its name for messages. */
struct source {
  const char *name;
  const char *bytes;
  size_t size;
};

/* Each makes the tables of `bpe`, which is empty before; free it with bpe_free(), also after a failure. What is
 * missing, contradictory or not a CLIP vocabulary is an error that names the source and the place in it. */

/* A Hugging Face tokenizer.json: model.vocab, model.merges and, for the special tokens, added_tokens. */
sam3_status vocabulary_from_json(struct source json, struct bpe *bpe, struct sam3_error *err);
/* A vocab.json (symbol to id) with its merges.txt (a pair of symbols a line, best first). */
sam3_status vocabulary_from_pair(struct source vocab, struct source merges, struct bpe *bpe, struct sam3_error *err);
/* CLIP's own, from within the library. */
sam3_status vocabulary_built_in(struct bpe *bpe, struct sam3_error *err);

#endif
