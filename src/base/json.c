#include "base/json.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#include "base/error.h"
#include "base/memory.h"

/* What a tree takes a byte of text: 20 for lists of short numbers. */
#define TREE_FACTOR 32

sam3_status json_parse(const char *text, size_t size, const char *name, json_t **out, struct sam3_error *err) {
  json_error_t error = {.text = ""};
  *out = NULL;
  /* jansson's lexer does not notice that an allocation failed. So we see first whether there is enough. */
  size_t needed = size < SIZE_MAX / TREE_FACTOR ? size * TREE_FACTOR : SIZE_MAX;
  void *probe = mem_alloc(needed);
  if (!probe)
    return fail_memory(err, needed, name);
  free(probe);
  *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
  if (*out)
    return SAM3_OK;
  if (json_error_code(&error) == json_error_out_of_memory)
    return fail(err, SAM3_ERR_MEMORY, "out of memory for the JSON of %s", name);
  return fail(err, SAM3_ERR_FORMAT, "%s: not JSON we can read: %s (line %d, column %d)", name, error.text, error.line,
              error.column);
}

sam3_status json_parse_file(const char *path, size_t max_size, json_t **out, struct sam3_error *err) {
  *out = NULL;
  FILE *file = fopen(path, "rb");
  if (!file)
    return fail(err, SAM3_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
  char *text = mem_alloc(max_size + 1);
  if (!text) {
    fclose(file);
    return fail_memory(err, max_size + 1, path);
  }
  size_t size = fread(text, 1, max_size + 1, file);
  sam3_status status;
  if (ferror(file))
    status = fail(err, SAM3_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
  else if (size > max_size)
    status = fail(err, SAM3_ERR_LIMIT, "%s: larger than %zu bytes, the most for such a file", path, max_size);
  else
    status = json_parse(text, size, path, out, err);
  free(text);
  fclose(file);
  return status;
}

json_t *json_text(const char *text) {
  char *copy = strdup(text);
  if (!copy)
    return NULL;
  size_t size = strlen(copy);
  for (const char *bad = copy; (bad = (const char *)u8_check((const uint8_t *)bad, size - (size_t)(bad - copy)));)
    copy[bad - copy] = '?';
  json_t *json = json_string(copy);
  free(copy);
  return json;
}
