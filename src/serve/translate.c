/* A phrase is cut into words of the glossary, the longest first, going back where that leads nowhere. In English
 * colours come before nouns, and where a thing is or what it wears behind it; numbers, measure words and particles say
 * nothing that the model could use. */
#include "serve/translate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "serve/assets.h"

#define MOST_WORDS 32
#define MOST_BYTES 240 /* of a phrase; CLIP's context is shorter */

/* A row of data/zh-en.tsv: kind, English, Chinese words with commas between. */
enum kind {
  KIND_NOUN = 'n',
  KIND_ADJECTIVE = 'a', /* colours, sizes, ... */
  KIND_AND = 'c',       /* between two of them */
  KIND_PLACE = 'r',     /* 桌子 上的 苹果: what is on, in, under what */
  KIND_VERB = 'v',      /* 戴 帽子 的 人: who wears, holds, rides what */
  KIND_NUMBER = 'd',
  KIND_MEASURE = 'm', /* only behind a number, or this and that */
  KIND_PARTICLE = 'p',
  KIND_LATIN = 'l', /* letters in the phrase itself: kept as they are */
};

struct word {
  const char *chinese, *english; /* in the glossary, not ended by NUL */
  unsigned char chinese_size, english_size;
  char kind;
};

static struct {
  pthread_once_t once;
  struct word *words; /* sorted by Chinese, then kind */
  size_t count, longest;
} glossary = {.once = PTHREAD_ONCE_INIT};

static int order(const char *a, size_t a_size, const char *b, size_t b_size) {
  int difference = memcmp(a, b, a_size < b_size ? a_size : b_size);
  return difference ? difference : (a_size > b_size) - (a_size < b_size);
}

static int by_chinese(const void *a, const void *b) {
  const struct word *x = a, *y = b;
  int difference = order(x->chinese, x->chinese_size, y->chinese, y->chinese_size);
  return difference ? difference : x->kind - y->kind;
}

static void add_row(const char *row, const char *end) {
  const char *english = memchr(row, '\t', (size_t)(end - row));
  const char *chinese = english ? memchr(english + 1, '\t', (size_t)(end - english - 1)) : NULL;
  if (!chinese || *row == '#')
    return;
  for (const char *at = chinese + 1; at < end;) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    const char *stop = comma ? comma : end;
    glossary.words[glossary.count++] = (struct word){.chinese = at,
                                                     .english = english + 1,
                                                     .chinese_size = (unsigned char)(stop - at),
                                                     .english_size = (unsigned char)(chinese - english - 1),
                                                     .kind = *row};
    if ((size_t)(stop - at) > glossary.longest)
      glossary.longest = (size_t)(stop - at);
    at = stop + 1;
  }
}

static void read_glossary(void) {
  const struct asset *asset = asset_find("zh-en.tsv");
  size_t most = 1;
  for (size_t i = 0; i < asset->size; i++)
    most += asset->bytes[i] == ',' || asset->bytes[i] == '\n';
  glossary.words = mem_zeroed(most, sizeof *glossary.words);
  if (!glossary.words)
    return;
  const char *end = asset->bytes + asset->size;
  for (const char *row = asset->bytes; row < end;) {
    const char *stop = memchr(row, '\n', (size_t)(end - row));
    stop = stop ? stop : end;
    add_row(row, stop);
    row = stop + 1;
  }
  qsort(glossary.words, glossary.count, sizeof *glossary.words, by_chinese);
}

/* The code point at `text` and its size in bytes; malformed bytes count one each. */
static unsigned point_at(const char *text, size_t *size) {
  const unsigned char *b = (const unsigned char *)text;
  *size = 1;
  if (b[0] >= 0xe0 && b[0] < 0xf0 && (b[1] & 0xc0) == 0x80 && (b[2] & 0xc0) == 0x80) {
    *size = 3;
    return (b[0] & 15u) << 12 | (b[1] & 63u) << 6 | (b[2] & 63u);
  }
  if (b[0] >= 0xf0 && b[0] < 0xf8 && (b[1] & 0xc0) == 0x80 && (b[2] & 0xc0) == 0x80 && (b[3] & 0xc0) == 0x80) {
    *size = 4;
    return (b[0] & 7u) << 18 | (b[1] & 63u) << 12 | (b[2] & 63u) << 6 | (b[3] & 63u);
  }
  return b[0];
}

bool is_chinese(const char *text) {
  for (size_t size; *text; text += size) {
    unsigned point = point_at(text, &size);
    if ((point >= 0x3400 && point <= 0x9fff) || (point >= 0xf900 && point <= 0xfaff) ||
        (point >= 0x20000 && point <= 0x3ffff))
      return true;
  }
  return false;
}

/* The first word of the glossary that is the `size` bytes at `text`; those of other kinds follow it. */
static const struct word *look_up(const char *text, size_t size) {
  size_t low = 0, high = glossary.count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const struct word *word = &glossary.words[middle];
    if (order(word->chinese, word->chinese_size, text, size) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  const struct word *word = &glossary.words[low];
  return low < glossary.count && word->chinese_size == size && !memcmp(word->chinese, text, size) ? word : NULL;
}

/* Where in a phrase the next word stands. */
struct place {
  enum {
    PLAIN,
    PLACED,
    VERB_OBJECT,
    VERB_SUBJECT
  } part; /* the last two: before and behind the 的 that ends the object */
  enum { AFTER_OTHER, AFTER_NUMBER, AFTER_ADJECTIVE, AFTER_AND } after;
  bool named; /* this part has a noun: a colour or a number alone names no thing */
};

struct cutting {
  const char *text;
  size_t size, furthest;
  struct word words[MOST_WORDS];
  size_t count, mark, split;            /* where the place or the verb stands, and the words behind the verb's 的 */
  bool failed[4][4][2][MOST_BYTES + 1]; /* from here, by part, after and named, there is no way */
};

static bool is_of(const struct word *word) {
  static const char of[] = "的";
  return word->kind == KIND_PARTICLE && word->chinese_size == sizeof of - 1 &&
         !memcmp(word->chinese, of, sizeof of - 1);
}

static struct place place_of(struct cutting *c) {
  struct place place = {0};
  for (size_t i = 0; i < c->count; i++) {
    const struct word *word = &c->words[i];
    bool object_ends = place.part == VERB_OBJECT && place.named && is_of(word);
    if (word->kind == KIND_PLACE || word->kind == KIND_VERB || object_ends) {
      place.part = object_ends ? VERB_SUBJECT : word->kind == KIND_PLACE ? PLACED : VERB_OBJECT;
      place.named = false;
      *(object_ends ? &c->split : &c->mark) = i + object_ends;
    }
    place.named |= word->kind == KIND_NOUN || word->kind == KIND_LATIN;
    place.after = word->kind == KIND_NUMBER || word->kind == KIND_PARTICLE ? AFTER_NUMBER
                  : word->kind == KIND_ADJECTIVE                           ? AFTER_ADJECTIVE
                  : word->kind == KIND_AND                                 ? AFTER_AND
                                                                           : AFTER_OTHER;
  }
  return place;
}

/* Whether a word of this kind may stand there. */
static bool fits(struct place place, char kind) {
  if (place.after == AFTER_AND)
    return kind == KIND_ADJECTIVE;
  switch (kind) {
  case KIND_MEASURE:
    return place.after == AFTER_NUMBER;
  case KIND_AND:
    return place.after == AFTER_ADJECTIVE;
  case KIND_PLACE:
    return place.part == PLAIN && place.named;
  case KIND_VERB:
    return place.part == PLAIN && !place.named;
  default:
    return true;
  }
}

static bool cut(struct cutting *c, size_t at);

static bool go_on(struct cutting *c, struct word word, size_t next) {
  if (c->count == MOST_WORDS)
    return false;
  c->words[c->count++] = word;
  if (cut(c, next))
    return true;
  c->count--;
  return false;
}

/* Cuts what begins at `at` into words; false when it cannot be. */
static bool cut(struct cutting *c, size_t at) {
  while (at < c->size && c->text[at] == ' ')
    at++;
  if (at > c->furthest)
    c->furthest = at;
  struct place place = place_of(c);
  if (at == c->size)
    return place.named && place.part != VERB_OBJECT;
  bool *failed = &c->failed[place.part][place.after][place.named][at];
  if (*failed)
    return false;
  size_t latin = at;
  while (latin < c->size && (unsigned char)c->text[latin] < 0x80 && c->text[latin] != ' ')
    latin++;
  if (latin > at) {
    char kind = strspn(c->text + at, "0123456789") >= latin - at ? KIND_NUMBER : KIND_LATIN;
    struct word word = {NULL, c->text + at, 0, (unsigned char)(latin - at), kind};
    if (fits(place, kind) && go_on(c, word, latin))
      return true;
  }
  size_t left = c->size - at;
  for (size_t size = left < glossary.longest ? left : glossary.longest; size; size--) {
    const struct word *word = look_up(c->text + at, size);
    const struct word *end = glossary.words + glossary.count;
    for (; word && word < end && word->chinese_size == size && !memcmp(word->chinese, c->text + at, size); word++)
      if (fits(place, word->kind) && go_on(c, *word, at + size))
        return true;
  }
  *failed = true;
  return false;
}

struct english {
  char *text;
  size_t size;
};

/* The words from..to of some kinds, in order, each with a space before it unless it is the first. */
static void put(const struct cutting *c, size_t from, size_t to, const char *kinds, struct english *out) {
  for (size_t i = from; i < to; i++)
    if (strchr(kinds, c->words[i].kind)) {
      if (out->size)
        out->text[out->size++] = ' ';
      memcpy(out->text + out->size, c->words[i].english, c->words[i].english_size);
      out->size += c->words[i].english_size;
    }
}

/* Adjectives stand before the thing. */
static void put_thing(const struct cutting *c, size_t from, size_t to, struct english *out) {
  put(c, from, to, "ac", out);
  put(c, from, to, "nl", out);
}

/* What Chinese says before its thing, where it is or what it wears, English says behind it. */
static void put_phrase(struct cutting *c, struct english *out) {
  switch (place_of(c).part) {
  case PLACED:
    put_thing(c, c->mark + 1, c->count, out);
    put(c, c->mark, c->mark + 1, "r", out);
    put_thing(c, 0, c->mark, out);
    break;
  case VERB_SUBJECT:
    put(c, 0, c->mark, "ac", out);
    put_thing(c, c->split, c->count, out);
    put(c, c->mark, c->mark + 1, "v", out);
    put_thing(c, c->mark + 1, c->split, out);
    break;
  default:
    put_thing(c, 0, c->count, out);
  }
}

/* Full-width signs and spaces become spaces. */
static size_t normalize(const char *text, char out[MOST_BYTES + 1]) {
  static const char *const blanks[] = {"\u3000", "\u3001", "\u3002", "\uff0c", "\uff01", "\uff1f", "\u00b7"};
  size_t n = 0;
  for (size_t size; *text; text += size) {
    point_at(text, &size);
    bool blank = *text == '\t' || *text == ',' || *text == '.';
    for (size_t i = 0; i < sizeof blanks / sizeof *blanks && !blank; i++)
      if (strncmp(text, blanks[i], strlen(blanks[i])) == 0) {
        blank = true;
        size = strlen(blanks[i]);
      }
    if (n + size > MOST_BYTES)
      return MOST_BYTES + 1;
    if (blank)
      out[n++] = ' ';
    else
      memcpy(out + n, text, size), n += size;
  }
  out[n] = '\0';
  return n;
}

static sam3_status say_why(const struct cutting *c, struct sam3_error *err) {
  const char *rest = c->text + c->furthest;
  const size_t size = strlen("和");
  const struct word *word = strlen(rest) > size ? look_up(rest, size) : NULL;
  if (word && word->kind == KIND_AND)
    return fail(err, SAM3_ERR_UNSUPPORTED, "\"%s\" cannot be translated: ask for each thing with a phrase of its own",
                c->text);
  if (*rest)
    return fail(
        err, SAM3_ERR_UNSUPPORTED,
        "\"%s\" cannot be translated: the glossary does not know \"%s\"; say it in English, or in simpler words",
        c->text, rest);
  return fail(err, SAM3_ERR_UNSUPPORTED, "\"%s\" cannot be translated: it names no thing", c->text);
}

sam3_status translate(const char *text, char **english, struct sam3_error *err) {
  *english = NULL;
  pthread_once(&glossary.once, read_glossary);
  char clean[MOST_BYTES + 1];
  struct cutting cutting = {.text = clean, .size = normalize(text, clean)};
  if (!glossary.words)
    return fail_memory(err, 0, "the glossary");
  if (cutting.size > MOST_BYTES)
    return fail(err, SAM3_ERR_UNSUPPORTED, "\"%.60s...\" is too long to be translated", text);
  if (!cut(&cutting, 0))
    return say_why(&cutting, err);
  size_t most = 1;
  for (size_t i = 0; i < cutting.count; i++)
    most += cutting.words[i].english_size + 1u;
  struct english out = {.text = mem_alloc(most)};
  if (!out.text)
    return fail_memory(err, most, "a phrase");
  put_phrase(&cutting, &out);
  out.text[out.size] = '\0';
  *english = out.text;
  return SAM3_OK;
}
