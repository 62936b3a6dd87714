#include "text/html.h"

#include <stdbool.h>
#include <string.h>

enum kind {
  CLOSED,  /* only with a semicolon */
  BARE,    /* the semicolon may be missing */
  SHOUTED, /* in capitals: ftfy's addition, only with a semicolon */
};

#define MAX_NAME 31

struct entity {
  char name[MAX_NAME + 1];
  uint32_t text[3]; /* zeros after the last */
  enum kind kind;
};

static const struct entity entities[] = {
#include "text/html_entities.inc"
};

const uint16_t windows_1252[32] = {
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178,
};

/* The digit's value, or 16 when `c` is none. */
static unsigned digit(uint32_t c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if ((c | 32) >= 'a' && (c | 32) <= 'f')
    return (c | 32) - 'a' + 10;
  return 16;
}

static bool is_alnum(uint32_t c) {
  return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* How many ASCII letters and digits `text` begins with, at most `most`. */
static size_t name_length(const uint32_t *text, size_t count, size_t most) {
  size_t n = 0;
  while (n < count && n < most && is_alnum(text[n]))
    n++;
  return n;
}

static const struct entity *find_entity(const uint32_t *letters, size_t length) {
  char name[MAX_NAME + 1] = {0};
  if (length > MAX_NAME)
    return NULL;
  for (size_t i = 0; i < length; i++)
    name[i] = (char)letters[i];
  size_t low = 0, high = sizeof entities / sizeof *entities;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(name, entities[middle].name);
    if (order == 0)
      return &entities[middle];
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}

static size_t write_entity(const struct entity *entity, uint32_t *out) {
  size_t n = 0;
  for (; n < 3 && entity->text[n]; n++)
    out[n] = entity->text[n];
  return n;
}

/* Reads the number of a reference, "38" or "x26", from `text`; returns its length, 0 when there is none. */
static size_t read_number(const uint32_t *text, size_t count, uint32_t *number) {
  unsigned base = count && (text[0] | 32) == 'x' ? 16 : 10;
  size_t begin = base == 16, n = begin;
  *number = 0;
  for (; n < count && digit(text[n]) < base; n++)
    if (*number <= 0x10ffff)
      *number = *number * base + digit(text[n]);
  return n > begin ? n : 0;
}

/* Writes what the numeric reference stands for by HTML's rules for bad numbers; returns how many characters: 0 or 1. */
static size_t write_number(uint32_t number, uint32_t *out) {
  if (number >= 0x80 && number <= 0x9f)
    *out = windows_1252[number - 0x80];
  else if (number == 0 || (number >= 0xd800 && number <= 0xdfff) || number > 0x10ffff)
    *out = 0xfffd;
  else if (number <= 8 || number == 0xb || (number >= 0xe && number <= 0x1f) || number == 0x7f ||
           (number >= 0xfdd0 && number <= 0xfdef) || (number & 0xfffe) == 0xfffe)
    return 0;
  else
    *out = number;
  return 1;
}

/* A reference behind its '&': writes its text to `out`, adds to `n_out`, and returns how much of `text` it took, 0 when
 * it is none. */
typedef size_t read_reference(const uint32_t *text, size_t count, uint32_t *out, size_t *n_out);

static size_t read_html(const uint32_t *text, size_t count, uint32_t *out, size_t *n_out) {
  size_t n;
  if (count && text[0] == '#') {
    uint32_t number;
    n = read_number(text + 1, count - 1, &number);
    if (!n)
      return 0;
    *n_out += write_number(number, out);
    n++;
    return n + (n < count && text[n] == ';');
  }
  n = name_length(text, count, MAX_NAME);
  const struct entity *entity = n < count && text[n] == ';' ? find_entity(text, n) : NULL;
  if (entity && entity->kind != SHOUTED) {
    *n_out += write_entity(entity, out);
    return n + 1;
  }
  for (; n >= 2; n--) {
    entity = find_entity(text, n);
    if (entity && entity->kind == BARE) {
      *n_out += write_entity(entity, out);
      return n;
    }
  }
  return 0;
}

static size_t read_closed(const uint32_t *text, size_t count, uint32_t *out, size_t *n_out) {
  bool numeric = count && text[0] == '#';
  size_t n = name_length(text + numeric, count - numeric, 24);
  if (!n || numeric + n == count || text[numeric + n] != ';')
    return 0;
  if (numeric) {
    uint32_t number;
    if (read_number(text + 1, n, &number) != n || number == ';')
      return 0;
    *n_out += write_number(number, out);
  } else {
    const struct entity *entity = find_entity(text, n);
    if (!entity)
      return 0;
    *n_out += write_entity(entity, out);
  }
  return numeric + n + 1;
}

static size_t unescape(const uint32_t *text, size_t count, uint32_t *out, read_reference *read) {
  size_t n_out = 0;
  for (size_t i = 0; i < count;) {
    size_t taken = text[i] == '&' ? read(text + i + 1, count - i - 1, out + n_out, &n_out) : 0;
    if (taken)
      i += 1 + taken;
    else
      out[n_out++] = text[i++];
  }
  return n_out;
}

size_t html_unescape(const uint32_t *text, size_t count, uint32_t *out) {
  return unescape(text, count, out, read_html);
}

size_t html_unescape_closed(const uint32_t *text, size_t count, uint32_t *out) {
  return unescape(text, count, out, read_closed);
}
