#include "image/document.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistr.h>

#include "base/error.h"
#include "base/memory.h"

/* Room for `more` characters and the NUL. */
static bool reserve(struct document *document, size_t more) {
  if (document->status != SAM3_OK)
    return false;
  size_t need = document->size + more + 1;
  if (need > document->capacity) {
    size_t capacity = need < 1024 ? 1024 : need + need / 2;
    char *text = mem_resize(document->text, capacity, 1);
    if (!text) {
      document->status = SAM3_ERR_MEMORY;
      return false;
    }
    document->text = text;
    document->capacity = capacity;
  }
  return true;
}

void document_print(struct document *document, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  if (n >= 0 && reserve(document, (size_t)n)) {
    vsnprintf(document->text + document->size, (size_t)n + 1, format, again);
    document->size += (size_t)n;
  }
  va_end(again);
  va_end(args);
}

static int append(const char *text, size_t size, void *user) {
  struct document *document = user;
  if (!reserve(document, size))
    return -1;
  memcpy(document->text + document->size, text, size);
  document->size += size;
  return 0;
}

/* 9 significant digits: every float32 reads back as itself. */
void document_json(struct document *document, json_t *value) {
  if (!value || json_dump_callback(value, append, document, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)))
    document->status = SAM3_ERR_MEMORY;
  json_decref(value);
}

json_t *document_string(const char *text) {
  if (!text)
    return json_null();
  size_t length = strlen(text);
  if (!u8_check((const uint8_t *)text, length))
    return json_stringn(text, length);
  uint8_t *clean = mem_alloc(3 * length + 1), *out = clean; /* U+FFFD has 3 bytes */
  if (!clean)
    return NULL;
  for (const uint8_t *in = (const uint8_t *)text, *end = in + length; in < end;) {
    ucs4_t point;
    in += u8_mbtouc(&point, in, (size_t)(end - in)); /* U+FFFD for what is malformed */
    out += u8_uctomb(out, point, 4);
  }
  json_t *string = json_stringn((char *)clean, (size_t)(out - clean));
  free(clean);
  return string;
}

sam3_status document_finish(struct document *document, char **text, struct sam3_error *err) {
  reserve(document, 0);
  if (document->status != SAM3_OK) {
    free(document->text);
    *text = NULL;
    return fail_memory(err, document->size, "the results as text");
  }
  document->text[document->size] = '\0';
  *text = document->text;
  return SAM3_OK;
}
