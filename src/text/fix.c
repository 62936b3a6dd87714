#include "text/fix.h"

#include <stdbool.h>
#include <string.h>
#include <unictype.h>
#include <uninorm.h>

#include "base/error.h"
#include "text/html.h"

#define MAX_LINE 1000000 /* ftfy's max_decode_length */
#define MAX_PASSES 100   /* a pass undoes one level of &amp;amp;... */
#define MAX_GROWTH 3     /* the most code points that a ligature, a wide form or NFC makes of one */

/* In the order of the code points. */
static const struct {
  uint32_t ligature;
  uint32_t letters[3];
} ligatures[] = {
    {0x0132, {'I', 'J'}},    {0x0133, {'i', 'j'}},   {0x0149, {'\'', 'n'}},     {0x01c4, {'D', 0x17d}},
    {0x01c5, {'D', 0x17e}},  {0x01c6, {'d', 0x17e}}, {0x01c7, {'L', 'J'}},      {0x01c8, {'L', 'j'}},
    {0x01c9, {'l', 'j'}},    {0x01ca, {'N', 'J'}},   {0x01cb, {'N', 'j'}},      {0x01cc, {'n', 'j'}},
    {0x01f1, {'D', 'Z'}},    {0x01f2, {'D', 'z'}},   {0x01f3, {'d', 'z'}},      {0xfb00, {'f', 'f'}},
    {0xfb01, {'f', 'i'}},    {0xfb02, {'f', 'l'}},   {0xfb03, {'f', 'f', 'i'}}, {0xfb04, {'f', 'f', 'l'}},
    {0xfb05, {0x017f, 't'}}, {0xfb06, {'s', 't'}},
};

/* Writes the letters of a ligature to `out`; returns how many, 0 when `c` is none. */
static size_t write_ligature(uint32_t c, uint32_t *out) {
  for (size_t i = 0; i < sizeof ligatures / sizeof *ligatures; i++) {
    if (ligatures[i].ligature != c)
      continue;
    size_t n = 0;
    for (; n < 3 && ligatures[i].letters[n]; n++)
      out[n] = ligatures[i].letters[n];
    return n;
  }
  return 0;
}

/* Writes the one character `c`, fixed, to `out`; returns how many code points that makes, at most MAX_GROWTH. */
static size_t write_fixed(uint32_t c, uint32_t out[MAX_GROWTH]) {
  if (c >= 0x80 && c <= 0x9f)
    c = windows_1252[c - 0x80];
  size_t n = c < 0x80 ? 0 : write_ligature(c, out);
  if (n)
    return n;
  if (c >= 0xff01 && c <= 0xffef) { /* full and half width forms */
    n = MAX_GROWTH;
    return u32_normalize(UNINORM_NFKC, &c, 1, out, &n) == out ? n : 0;
  }
  if (c == 0x3000)
    c = ' ';
  else if (c == 0x02bc || (c >= 0x2018 && c <= 0x201b))
    c = '\'';
  else if (c >= 0x201c && c <= 0x201f)
    c = '"';
  else if (c == 0x2028 || c == 0x2029)
    c = '\n';
  *out = c;
  return 1;
}

/* Writes `text` to `out` with the fixers that look at one character, and line breaks as \n. */
static sam3_status fix_characters(const struct codepoints *text, struct codepoints *out, struct sam3_error *err) {
  TRY(codepoints_reserve(out, text->count * MAX_GROWTH, err));
  out->count = 0;
  for (size_t i = 0; i < text->count; i++) {
    uint32_t c = text->at[i];
    if (c == '\r') {
      c = '\n';
      i += i + 1 < text->count && text->at[i + 1] == '\n';
    }
    out->count += write_fixed(c, out->at + out->count);
  }
  return SAM3_OK;
}

/* Control characters that have no displayed effect; see https://www.unicode.org/reports/tr20/tr20-9.html */
static bool is_control(uint32_t c) {
  return c <= 0x08 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || (c >= 0x206a && c <= 0x206f) ||
         c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

/* The length of the terminal escape that `text` begins with: ESC [ digits and semicolons, a letter; else 0. */
static size_t escape_length(const uint32_t *text, size_t count) {
  if (count < 3 || text[0] != 0x1b || text[1] != '[')
    return 0;
  size_t n = 2;
  while (n < count && (text[n] == ';' || uc_is_general_category(text[n], UC_DECIMAL_DIGIT_NUMBER)))
    n++;
  return n < count && (text[n] | 32) >= 'a' && (text[n] | 32) <= 'z' ? n + 1 : 0;
}

static void remove_controls(struct codepoints *text) {
  size_t kept = 0;
  for (size_t i = 0; i < text->count;) {
    size_t escape = escape_length(text->at + i, text->count - i);
    if (!escape && !is_control(text->at[i]))
      text->at[kept++] = text->at[i];
    i += escape ? escape : 1;
  }
  text->count = kept;
}

static sam3_status normalize(const struct codepoints *text, struct codepoints *out, struct sam3_error *err) {
  TRY(codepoints_reserve(out, text->count * MAX_GROWTH + 1, err));
  size_t length = out->capacity;
  uint32_t *at = u32_normalize(UNINORM_NFC, text->at, text->count, out->at, &length);
  return codepoints_adopt(out, at, length, err);
}

/* Passes `line` through the fixers until they change nothing; `spare` are two buffers for it. */
static sam3_status fix_line(struct codepoints *line, bool unescape, struct codepoints spare[2],
                            struct sam3_error *err) {
  for (int pass = 0; pass < MAX_PASSES; pass++) {
    TRY(codepoints_reserve(&spare[0], line->count, err));
    spare[0].count = line->count;
    if (unescape)
      spare[0].count = html_unescape_closed(line->at, line->count, spare[0].at);
    else
      memcpy(spare[0].at, line->at, line->count * sizeof *line->at);
    TRY(fix_characters(&spare[0], &spare[1], err));
    remove_controls(&spare[1]);
    TRY(normalize(&spare[1], &spare[0], err));

    bool same = line->count == spare[0].count && !memcmp(line->at, spare[0].at, line->count * sizeof *line->at);
    if (same)
      return SAM3_OK;
    struct codepoints swap = *line;
    *line = spare[0];
    spare[0] = swap;
  }
  return fail(err, SAM3_ERR_LIMIT, "text: character references nested more than %d deep", MAX_PASSES);
}

static sam3_status append(struct codepoints *out, const struct codepoints *line, struct sam3_error *err) {
  if (!line->count)
    return SAM3_OK;
  size_t needed = out->count + line->count;
  if (needed > out->capacity)
    TRY(codepoints_reserve(out, needed + needed / 2, err));
  memcpy(out->at + out->count, line->at, line->count * sizeof *line->at);
  out->count = needed;
  return SAM3_OK;
}

/* The length of the line, its end included, that begins at `begin`. */
static size_t line_length(const struct codepoints *text, size_t begin) {
  size_t n = 0, most = text->count - begin < MAX_LINE ? text->count - begin : MAX_LINE;
  while (n < most)
    if (text->at[begin + n++] == '\n')
      break;
  return n;
}

static bool contains(const uint32_t *text, size_t count, uint32_t c) {
  for (size_t i = 0; i < count; i++)
    if (text[i] == c)
      return true;
  return false;
}

sam3_status fix_text(const struct codepoints *text, struct codepoints *out, struct sam3_error *err) {
  struct codepoints line = {0}, spare[2] = {{0}};
  sam3_status status = SAM3_OK;
  bool unescape = true;
  for (size_t i = 0, n; i < text->count && status == SAM3_OK; i += n) {
    n = line_length(text, i);
    unescape = unescape && !contains(text->at + i, n, '<');
    line.count = 0;
    status = append(&line, &(struct codepoints){text->at + i, n, n}, err);
    if (status == SAM3_OK)
      status = fix_line(&line, unescape, spare, err);
    if (status == SAM3_OK)
      status = append(out, &line, err);
  }
  codepoints_free(&line);
  codepoints_free(&spare[0]);
  codepoints_free(&spare[1]);
  return status;
}
