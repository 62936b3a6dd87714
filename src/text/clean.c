#include "text/clean.h"

#include <unicase.h>
#include <unictype.h>
#include <unistr.h>

#include "base/error.h"
#include "text/fix.h"
#include "text/html.h"

static sam3_status decode(const char *text, size_t length, struct codepoints *out, struct sam3_error *err) {
  if (length > MAX_TEXT)
    return fail(err, SAM3_ERR_LIMIT, "text: %zu bytes, over the limit of %u", length, MAX_TEXT);
  const uint8_t *bytes = (const uint8_t *)text, *bad = u8_check(bytes, length);
  if (bad)
    return fail(err, SAM3_ERR_FORMAT, "text: no valid UTF-8 at byte %zu", (size_t)(bad - bytes));
  TRY(codepoints_reserve(out, length + 1, err));
  size_t count = out->capacity;
  uint32_t *at = u8_to_u32(bytes, length, out->at, &count);
  return codepoints_adopt(out, at, count, err);
}

static void collapse_spaces(struct codepoints *text) {
  size_t kept = 0;
  for (size_t i = 0; i < text->count; i++) {
    uint32_t c = uc_is_property_white_space(text->at[i]) ? ' ' : text->at[i];
    if (c != ' ' || (kept && text->at[kept - 1] != ' '))
      text->at[kept++] = c;
  }
  text->count = kept - (kept && text->at[kept - 1] == ' ');
}

static sam3_status lower(const struct codepoints *text, struct codepoints *out, struct sam3_error *err) {
  TRY(codepoints_reserve(out, text->count + text->count / 8 + 8, err));
  size_t count = out->capacity;
  uint32_t *at = u32_tolower(text->at, text->count, NULL, NULL, out->at, &count);
  return codepoints_adopt(out, at, count, err);
}

sam3_status clean_text(const char *text, size_t length, struct codepoints *clean, struct sam3_error *err) {
  struct codepoints raw = {0}, fixed = {0};
  sam3_status status = decode(text, length, &raw, err);
  if (status == SAM3_OK)
    status = fix_text(&raw, &fixed, err);
  if (status == SAM3_OK) {
    for (int i = 0; i < 2; i++)
      fixed.count = html_unescape(fixed.at, fixed.count, fixed.at);
    collapse_spaces(&fixed);
    status = lower(&fixed, clean, err);
  }
  codepoints_free(&raw);
  codepoints_free(&fixed);
  return status;
}
