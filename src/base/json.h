/* JSON from outside, parsed by jansson under our rules: an object or array, no duplicate keys, no NUL in strings,
 * numbers that fit. Nesting is limited by jansson (2,048). */
#ifndef SAM3_BASE_JSON_H
#define SAM3_BASE_JSON_H

#include <jansson.h>

#include "sam3.h"

/* Parses `text`; messages call it `name` and tell line and column. The caller owns `*out` (json_decref); NULL on
 * failure. SAM3_ERR_FORMAT, SAM3_ERR_MEMORY. */
sam3_status json_parse(const char *text, size_t size, const char *name, json_t **out, struct sam3_error *err);

/* The same from a file of at most `max_size` bytes. Also SAM3_ERR_IO, SAM3_ERR_LIMIT. */
sam3_status json_parse_file(const char *path, size_t max_size, json_t **out, struct sam3_error *err);

/* Any text as a JSON string; each byte that is not UTF-8 (of a character that a limit has cut, say) becomes "?". The
 * caller owns it; NULL when there is no memory. */
json_t *json_text(const char *text);

#endif
