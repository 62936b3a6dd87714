/* A text that grows. The first failure sticks: what follows does nothing, and document_finish() tells. */
#ifndef SAM3_IMAGE_DOCUMENT_H
#define SAM3_IMAGE_DOCUMENT_H

#include <jansson.h>

#include "sam3.h"

struct document {
  char *text;
  size_t size, capacity;
  sam3_status status;
};

__attribute__((format(printf, 2, 3))) void document_print(struct document *document, const char *format, ...);
/* Writes the JSON value and lets go of it; NULL stands for one that found no memory. */
void document_json(struct document *document, json_t *value);
/* A JSON string of UTF-8 text, null for NULL; what is no UTF-8 becomes U+FFFD, as in every reader. */
json_t *document_string(const char *text);

/* Hands over the text, ended by NUL, or frees it. SAM3_ERR_MEMORY. */
sam3_status document_finish(struct document *document, char **text, struct sam3_error *err);

#endif
