/* Token ids against the official tokenizer's, limits of the input, failing allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/memory.h"
#include "text/clean.h"
#include "text/tokenizer.h"

#define CONTEXT 300

static struct tokenizer *clip;
static struct sam3_error err;

static int open_clip(void **state) {
  (void)state;
  return tokenizer_open(NULL, &clip, &err) != SAM3_OK;
}

static int close_clip(void **state) {
  (void)state;
  tokenizer_close(clip);
  return 0;
}

/* tokens.json: ["text", repetitions, [ids between start and end]], by tools/make_tokenizer_fixtures.py */
static void test_official_ids(void **state) {
  (void)state;
  json_t *cases = json_load_file(TOKENS_JSON, JSON_ALLOW_NUL, NULL);
  assert_true(json_array_size(cases) > 1000);
  size_t i;
  json_t *item;
  json_array_foreach(cases, i, item) {
    const json_t *text = json_array_get(item, 0), *expected = json_array_get(item, 2);
    size_t length = json_string_length(text), times = (size_t)json_integer_value(json_array_get(item, 1));
    char *repeated = malloc(length * times + 1);
    assert_non_null(repeated);
    for (size_t k = 0; k < times; k++)
      memcpy(repeated + k * length, json_string_value(text), length);
    int32_t ids[CONTEXT];
    int count = 0;
    assert_int_equal(tokenizer_encode(clip, repeated, length * times, CONTEXT, ids, &count, &err), SAM3_OK);
    free(repeated);

    bool same = count == (int)json_array_size(expected) + 2 && ids[0] == 49406 && ids[count - 1] == 49407;
    for (size_t k = 0; same && k < json_array_size(expected); k++)
      same = ids[k + 1] == json_integer_value(json_array_get(expected, k));
    if (!same)
      fail_msg("case %zu: \"%s\"", i, json_string_value(text));
  }
  json_decref(cases);
}

static void test_context(void **state) {
  (void)state;
  char text[400] = "";
  for (int i = 0; i < 40; i++)
    strcat(text, "a dog ");
  static const int contexts[] = {2, 3, 31, 32, 77, 81, 82, 83, 200};
  for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
    int32_t ids[201];
    int count, context = contexts[i], expected = context < 82 ? context : 82;
    ids[context] = -7;
    assert_int_equal(tokenizer_encode(clip, text, strlen(text), context, ids, &count, &err), SAM3_OK);
    assert_int_equal(count, expected);
    assert_int_equal(ids[0], 49406);
    assert_int_equal(ids[count - 1], 49407);
    for (int k = 1; k < count - 1; k++)
      assert_int_equal(ids[k], k % 2 ? 320 : 1929);
    assert_int_equal(ids[context], -7);
  }
  int32_t id;
  int count;
  assert_int_equal(tokenizer_encode(clip, "", 0, 1, &id, &count, &err), SAM3_ERR_ARGUMENT);
  /* a word that is cut in the middle */
  int32_t ids[4];
  assert_int_equal(tokenizer_encode(clip, "qqqqqqqq xzxzxz", 15, 4, ids, &count, &err), SAM3_OK);
  assert_int_equal(count, 4);
  assert_int_equal(ids[3], 49407);
}

static void test_invalid_utf8(void **state) {
  (void)state;
  static const struct {
    const char *text;
    const char *offset;
  } cases[] = {
      {"\xff", "byte 0"},       {"abc\x80", "byte 3"},         {"d\xc3", "byte 1"},
      {"\xc0\x80", "byte 0"},   {"ok \xed\xa0\x80", "byte 3"}, {"\xf4\x90\x80\x80", "byte 0"},
      {"é\xe2\x82z", "byte 2"}, {"\xf0\x9f\x98", "byte 0"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int32_t ids[8];
    int count = 9;
    sam3_status status = tokenizer_encode(clip, cases[i].text, strlen(cases[i].text), 8, ids, &count, &err);
    assert_int_equal(status, SAM3_ERR_FORMAT);
    assert_int_equal(count, 0);
    assert_non_null(strstr(err.message, cases[i].offset));
    assert_int_equal(tokenizer_encode(clip, cases[i].text, strlen(cases[i].text), 8, ids, &count, NULL), status);
  }
}

static void test_limits(void **state) {
  (void)state;
  char *text = malloc(MAX_TEXT + 1);
  assert_non_null(text);
  memset(text, 'a', MAX_TEXT + 1);
  int32_t ids[32];
  int count;
  assert_int_equal(tokenizer_encode(clip, text, MAX_TEXT + 1, 32, ids, &count, &err), SAM3_ERR_LIMIT);
  /* a million letters and more in one word: of one letter, 16 a token */
  assert_int_equal(tokenizer_encode(clip, text, 1u << 20, 32, ids, &count, &err), SAM3_OK);
  assert_int_equal(count, 32);
  assert_int_equal(ids[1], ids[30]);
  /* &amp;amp;... is undone a level a pass: refused when that would take too long */
  for (size_t i = 0; i < 250; i++)
    memcpy(text + 1 + 4 * i, "amp;", 4);
  text[0] = '&';
  assert_int_equal(tokenizer_encode(clip, text, 1 + 4 * 90, 32, ids, &count, &err), SAM3_OK);
  assert_int_equal(count, 3);
  assert_int_equal(tokenizer_encode(clip, text, 1 + 4 * 250, 32, ids, &count, &err), SAM3_ERR_LIMIT);
  free(text);
}

static void test_clean(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint32_t clean[8];
  } cases[] = {
      {" \t", {0}},
      {"  A\u3000\nB ", {'a', ' ', 'b'}},
      {"\u0130\ufb01", {'i', 0x307, 'f', 'i'}},
      {"e\u0301&Eacute;", {0xe9, 0xe9}},
      {"\u201c\u2019", {'"', '\''}},
      {"\u00c2\u00a0x", {0xe2, ' ', 'x'}}, /* mojibake stays */
      {"\x1b[1mx\x07\ufeff", {'x'}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct codepoints clean = {0};
    size_t expected = 0;
    while (cases[i].clean[expected])
      expected++;
    assert_int_equal(clean_text(cases[i].text, strlen(cases[i].text), &clean, &err), SAM3_OK);
    assert_int_equal(clean.count, expected);
    assert_memory_equal(clean.at, cases[i].clean, expected * sizeof *clean.at);
    codepoints_free(&clean);
  }
}

static void test_allocation_failures(void **state) {
  (void)state;
  struct tokenizer *tokenizer = clip;
  for (size_t n = 1, failed = 1; failed; n++) {
    mem_fail_at(n, n % 2);
    sam3_status status = tokenizer_open(NULL, &tokenizer, &err);
    failed = mem_fail_at(0, false) >= n;
    assert_int_equal(status, failed ? SAM3_ERR_MEMORY : SAM3_OK);
    assert_true(failed ? tokenizer == NULL : n > 5);
  }
  static const char text[] = "Don't &amp; \ufb01ne\nIstanbul!? x y z";
  for (size_t n = 1, failed = 1; failed; n++) {
    int32_t ids[32];
    int count;
    mem_fail_at(n, n % 2);
    sam3_status status = tokenizer_encode(tokenizer, text, strlen(text), 32, ids, &count, &err);
    failed = mem_fail_at(0, false) >= n;
    assert_int_equal(status, failed ? SAM3_ERR_MEMORY : SAM3_OK);
    assert_true(failed ? count == 0 : n > 10);
  }
  tokenizer_close(tokenizer);
  tokenizer_close(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_official_ids), cmocka_unit_test(test_context), cmocka_unit_test(test_invalid_utf8),
      cmocka_unit_test(test_limits),       cmocka_unit_test(test_clean),   cmocka_unit_test(test_allocation_failures),
  };
  return cmocka_run_group_tests(tests, open_clip, close_clip);
}
