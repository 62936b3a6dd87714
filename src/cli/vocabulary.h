/* What a small checkpoint knows: vocabulary.json in its directory, as models/demo/concepts.py writes it.
 *
 *   {"concepts": {"dog": ["puppy"], ...}, "colours": ["red", ...], "coloured": ["apple", ...]} */
#ifndef SAM3_CLI_VOCABULARY_H
#define SAM3_CLI_VOCABULARY_H

#include <jansson.h>

/* Of the model at this path; NULL when its directory says nothing. */
json_t *load_vocabulary(const char *model);
/* A new array of the names of its concepts. */
json_t *vocabulary_names(const json_t *vocabulary);
void print_vocabulary(const json_t *vocabulary);

#endif
