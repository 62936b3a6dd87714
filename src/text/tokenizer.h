/* CLIP's tokenizer as the original SAM 3 uses it: text in, token ids out. See docs/text.md. */
#ifndef SAM3_TEXT_TOKENIZER_H
#define SAM3_TEXT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "sam3.h"

/* Never changes once open: threads may share it. */
struct tokenizer;

/* Opens the vocabulary of a checkpoint's `directory`: tokenizer.json, else vocab.json with merges.txt, else (and for
 * NULL) CLIP's own, which the library carries. Close it with tokenizer_close(). */
sam3_status tokenizer_open(const char *directory, struct tokenizer **out, struct sam3_error *err);

/* Encodes the UTF-8 `text` of `length` bytes: the start token, the text's tokens, the end token. What does not fit into
 * `context` >= 2 ids is cut off before the end token. Writes ids [context], of which the first `count` are set.
 * SAM3_ERR_FORMAT names the offset of the first byte that is not UTF-8. */
sam3_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, int context,
                             int32_t *ids, int *count, struct sam3_error *err);

/* NULL is ignored. */
void tokenizer_close(struct tokenizer *tokenizer);

#endif
