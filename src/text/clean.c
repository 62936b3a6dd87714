#include "text/clean.h"

#include <stdbool.h>
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

/* Whether the capital sigma at `i` ends a word: behind a letter that has case and before none, whatever case-ignorable
 * characters are between (Unicode's Final_Sigma). libunistring's u32_tolower reads that rule differently where
 * characters are both cased and ignorable. */
static bool is_final_sigma(const struct codepoints *text, size_t i) {
  size_t before = i, behind = i + 1;
  while (before && uc_is_property_case_ignorable(text->at[before - 1]))
    before--;
  while (behind < text->count && uc_is_property_case_ignorable(text->at[behind]))
    behind++;
  return before && uc_is_property_cased(text->at[before - 1]) &&
         (behind == text->count || !uc_is_property_cased(text->at[behind]));
}

static sam3_status lower(const struct codepoints *text, struct codepoints *out, struct sam3_error *err) {
  TRY(codepoints_reserve(out, 2 * text->count + 1, err));
  for (size_t i = 0; i < text->count; i++) {
    uint32_t c = text->at[i];
    if (c == 0x3a3) {
      c = is_final_sigma(text, i) ? 0x3c2 : 0x3c3;
    } else if (c == 0x130) { /* the only capital whose lower case is two characters: i and a dot above */
      out->at[out->count++] = 'i';
      c = 0x307;
    } else {
      c = uc_tolower(c);
    }
    out->at[out->count++] = c;
  }
  return SAM3_OK;
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
