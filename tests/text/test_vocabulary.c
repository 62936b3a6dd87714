/* A checkpoint's own vocabulary, from both kinds of files, and files that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "small_vocabulary.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

static struct sam3_error err;
static char directory[] = "vocabulary-XXXXXX";

static void put(const char *name, const char *text) {
  char path[100];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  remove(path);
  if (!text)
    return;
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fputs(text, file) < 0, 0);
  assert_int_equal(fclose(file), 0);
}

static char vocab[SMALL_SIZE], json[2 * SMALL_SIZE], merges[1000];

static void put_tokenizer(const char *model, const char *merge_format, const char *added) {
  small_merges_text(merges, merge_format, ",\n");
  snprintf(json, sizeof json, "{\"model\":{%s\"vocab\":%s,\"merges\":[%s]},\"added_tokens\":[%s]}", model, vocab,
           merges, added);
  put("tokenizer.json", json);
}

static int make_directory(void **state) {
  (void)state;
  small_vocab_json(vocab);
  return mkdtemp(directory) == NULL;
}

static int clear_directory(void **state) {
  (void)state;
  put("tokenizer.json", NULL);
  put("vocab.json", NULL);
  put("merges.txt", NULL);
  return 0;
}

static int remove_directory(void **state) {
  clear_directory(state);
  return rmdir(directory);
}

static void check_small(void) {
  static const struct {
    const char *text;
    int32_t ids[8];
  } cases[] = {
      {"", {0}},
      {"the cat", {SMALL_UNION + 3, SMALL_UNION + 5}},
      /* every "a b" merges before "ab a", which they make possible, is looked at */
      {"ababx", {SMALL_UNION + 1, SMALL_UNION + 1, SMALL_LAST('x')}},
      {"abax", {SMALL_UNION + 0, SMALL_LAST('x')}},
      {"aaaaa", {SMALL_UNION + 6, SMALL_UNION + 7}},
      {"aaaax", {SMALL_UNION + 8, SMALL_LAST('x')}},
      {"aaa", {SMALL_UNION + 7}},
      {"!?", {SMALL_UNION + 9}},
      {"é \"", {SMALL_INNER(0xc3), SMALL_LAST(0xa9), SMALL_LAST('"')}},
      {"<end_of_text>", {SMALL_END}},
  };
  struct tokenizer *tokenizer;
  assert_int_equal(tokenizer_open(directory, &tokenizer, &err), SAM3_OK);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int32_t ids[32];
    int count, expected = 0;
    while (cases[i].ids[expected])
      expected++;
    assert_int_equal(tokenizer_encode(tokenizer, cases[i].text, strlen(cases[i].text), 32, ids, &count, &err), SAM3_OK);
    assert_int_equal(count, expected + 2);
    assert_int_equal(ids[0], SMALL_START);
    assert_memory_equal(ids + 1, cases[i].ids, (size_t)expected * sizeof *ids);
    assert_int_equal(ids[count - 1], SMALL_END);
  }
  tokenizer_close(tokenizer);
}

static void test_tokenizer_json(void **state) {
  (void)state;
  put_tokenizer("", "\"%s %s\"", "");
  put("vocab.json", "not looked at");
  check_small();
  put_tokenizer("\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",", "[\"%s\",\"%s\"]",
                "{\"id\":3,\"content\":\"<|startoftext|>\"},{\"id\":7,\"content\":\"<more>\"}");
  check_small();
}

static void test_vocab_and_merges(void **state) {
  (void)state;
  put("vocab.json", vocab);
  small_merges_text(merges, "%s %s", "\n");
  put("merges.txt", merges);
  check_small();
  strcpy(merges, "#version: 0.2\r\n");
  small_merges_text(merges + strlen(merges), "%s %s", "\r\n\r\n");
  put("merges.txt", strcat(merges, "\r\n"));
  check_small();
}

static void test_built_in(void **state) {
  (void)state;
  struct tokenizer *tokenizer;
  int32_t ids[8];
  int count;
  assert_int_equal(tokenizer_open(directory, &tokenizer, &err), SAM3_OK);
  assert_int_equal(tokenizer_encode(tokenizer, "dog", 3, 8, ids, &count, &err), SAM3_OK);
  assert_int_equal(count, 3);
  assert_int_equal(ids[1], 1929);
  tokenizer_close(tokenizer);
}

/* The bytes of a file of the demo model and a newline, which `size` does not count. */
static char *demo_file(const char *name, size_t *size) {
  char path[500];
  snprintf(path, sizeof path, "%s/%s", DEMO, name);
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  char *bytes = malloc(1 << 20);
  assert_non_null(bytes);
  *size = fread(bytes, 1, (1 << 20) - 1, file);
  assert_int_equal(fclose(file), 0);
  bytes[*size] = '\n';
  return bytes;
}

static void check_damaged(struct source vocab_json, struct source merges_txt, char *byte) {
  struct bpe bpe = {0};
  *byte ^= 1;
  assert_int_equal(vocabulary_from_pair(vocab_json, merges_txt, &bpe, &err), SAM3_ERR_FORMAT);
  bpe_free(&bpe);
  *byte ^= 1;
}

/* CLIP's own files are known by their checksums and not parsed; a newline more, and they are. A damaged one of the same
 * length is not taken for them. */
static void test_known_files(void **state) {
  (void)state;
  struct source vocab_json = {"vocab.json", NULL, 0}, merges_txt = {"merges.txt", NULL, 0};
  char *pair[2] = {demo_file("vocab.json", &vocab_json.size), demo_file("merges.txt", &merges_txt.size)};
  vocab_json.bytes = pair[0];
  merges_txt.bytes = pair[1];
  struct bpe known = {0}, parsed = {0};
  assert_int_equal(vocabulary_from_pair(vocab_json, merges_txt, &known, &err), SAM3_OK);
  vocab_json.size++;
  assert_int_equal(vocabulary_from_pair(vocab_json, merges_txt, &parsed, &err), SAM3_OK);
  assert_memory_equal(&known, &parsed, offsetof(struct bpe, merges));
  assert_int_equal(known.n_slots, parsed.n_slots);
  assert_memory_equal(known.merges, parsed.merges, known.n_slots * sizeof *known.merges);
  bpe_free(&parsed);
  vocab_json.size--;
  check_damaged(vocab_json, merges_txt, &pair[0][1]);
  check_damaged(vocab_json, merges_txt, &pair[1][0]);
  bpe_free(&known);
  free(pair[0]);
  free(pair[1]);
}

static void check_refused(sam3_status status, const char *words) {
  struct tokenizer *tokenizer = (struct tokenizer *)vocab;
  assert_int_equal(tokenizer_open(directory, &tokenizer, &err), status);
  assert_null(tokenizer);
  assert_int_equal(err.status, status);
  assert_non_null(strstr(err.message, directory));
  if (!strstr(err.message, words))
    fail_msg("\"%s\" does not tell of \"%s\"", err.message, words);
  assert_int_equal(tokenizer_open(directory, &tokenizer, NULL), status);
}

/* Checks `text` with its first `from` replaced by `to`. */
static void check_edited(const char *file, const char *text, const char *from, const char *to, sam3_status status,
                         const char *words) {
  static char edited[3 * SMALL_SIZE];
  const char *place = strstr(text, from);
  assert_non_null(place);
  snprintf(edited, sizeof edited, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from));
  put(file, edited);
  check_refused(status, words);
}

static void test_wrong_json(void **state) {
  (void)state;
  put_tokenizer("\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",", "[\"%s\",\"%s\"]",
                "{\"id\":9,\"content\":\"x y\"}");
  static const struct {
    const char *from, *to;
    sam3_status status;
    const char *words;
  } cases[] = {
      {"{\"model", "", SAM3_ERR_FORMAT, "tokenizer.json"},
      {"\"model\"", "\"Model\"", SAM3_ERR_FORMAT, "model is not an object"},
      {"\"model\":", "\"model\":7,\"x\":", SAM3_ERR_FORMAT, "model is not an object"},
      {"\"BPE\"", "\"WordPiece\"", SAM3_ERR_UNSUPPORTED, "model.type"},
      {"\"BPE\"", "null", SAM3_ERR_UNSUPPORTED, "model.type"},
      {"\"</w>\"", "\"\"", SAM3_ERR_UNSUPPORTED, "model.end_of_word_suffix"},
      {"\"vocab\"", "\"words\"", SAM3_ERR_FORMAT, "model.vocab is not an object"},
      {"\"vocab\":", "\"vocab\":[],\"x\":", SAM3_ERR_FORMAT, "model.vocab is not an object"},
      {"<|startoftext|>", "start", SAM3_ERR_FORMAT, "lacks <|startoftext|>"},
      {"<|endoftext|>", "end", SAM3_ERR_FORMAT, "lacks <|endoftext|>"},
      {"\"A\":", "\"A?\":", SAM3_ERR_FORMAT, "lacks the symbol \"A\""},
      {"\"A</w>\":", "\"A<w>\":", SAM3_ERR_FORMAT, "lacks the symbol \"A</w>\""},
      {"\"A\":165", "\"A\":166", SAM3_ERR_FORMAT, "the id of"},
      {"\"A\":165", "\"A\":-1", SAM3_ERR_FORMAT, "the id of \"A\""},
      {"\"A\":165", "\"A\":1048576", SAM3_ERR_FORMAT, "the id of \"A\""},
      {"\"A\":165", "\"A\":99999999999999", SAM3_ERR_FORMAT, "the id of \"A\""},
      {"\"A\":165", "\"A\":1.5", SAM3_ERR_FORMAT, "the id of \"A\""},
      {"\"A\":165", "\"A\":\"165\"", SAM3_ERR_FORMAT, "the id of \"A\""},
      {"\"merges\"", "\"pairs\"", SAM3_ERR_FORMAT, "model.merges is not an array"},
      {"[\"t\",\"h\"]", "[\"t\"]", SAM3_ERR_FORMAT, "model.merges[2]"},
      {"[\"t\",\"h\"]", "[\"t\",\"h\",\"e\"]", SAM3_ERR_FORMAT, "model.merges[2]"},
      {"[\"t\",\"h\"]", "[\"t\",3]", SAM3_ERR_FORMAT, "model.merges[2]"},
      {"[\"t\",\"h\"]", "[\"\",\"h\"]", SAM3_ERR_FORMAT, "model.merges[2]"},
      {"[\"t\",\"h\"]", "\"th\"", SAM3_ERR_FORMAT, "model.merges[2]"},
      {"[\"t\",\"h\"]", "\"t h e\"", SAM3_ERR_FORMAT, "model.merges[2]"},
      {"[\"t\",\"h\"]", "{}", SAM3_ERR_FORMAT, "model.merges[2]"},
      {"[\"t\",\"h\"]", "[\"tt\",\"h\"]", SAM3_ERR_FORMAT,
       "model.merges[2] joins \"tt\" and \"h\", but the vocabulary lacks the first"},
      {"[\"t\",\"h\"]", "[\"t\",\"hh\"]", SAM3_ERR_FORMAT, "lacks the second"},
      {"[\"t\",\"h\"]", "[\"h\",\"t\"]", SAM3_ERR_FORMAT, "lacks their union"},
      {"\"content\":", "\"text\":", SAM3_ERR_FORMAT, "added_tokens[0]"},
      {"\"id\":9", "\"id\":3", SAM3_ERR_FORMAT, "added_tokens[0]"},
      {"{\"id\":9", "3,{\"id\":9", SAM3_ERR_FORMAT, "added_tokens[0]"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check_edited("tokenizer.json", json, cases[i].from, cases[i].to, cases[i].status, cases[i].words);
  put("tokenizer.json", "");
  check_refused(SAM3_ERR_FORMAT, "tokenizer.json");
}

static void test_wrong_merges(void **state) {
  (void)state;
  put("vocab.json", vocab);
  check_refused(SAM3_ERR_IO, "merges.txt");
  small_merges_text(merges, "%s %s", "\n");
  check_edited("merges.txt", merges, "t h", "th", SAM3_ERR_FORMAT, "line 3 is \"th\"");
  check_edited("merges.txt", merges, "t h", "t  h", SAM3_ERR_FORMAT, "line 3 ");
  check_edited("merges.txt", merges, "t h", " h", SAM3_ERR_FORMAT, "line 3 ");
  check_edited("merges.txt", merges, "t h", "t h e", SAM3_ERR_FORMAT, "line 3 ");
  check_edited("merges.txt", merges, "t h", "h t", SAM3_ERR_FORMAT, "merges.txt: line 3 joins");
  put("merges.txt", merges);
  check_edited("vocab.json", vocab, "\"A\":165", "\"A\":true", SAM3_ERR_FORMAT, "vocab.json");
  put("vocab.json", "[]");
  check_refused(SAM3_ERR_FORMAT, "vocab.json");
}

static void test_wrong_files(void **state) {
  (void)state;
  char path[100];
  snprintf(path, sizeof path, "%s/tokenizer.json", directory);
  assert_int_equal(mkdir(path, 0700), 0);
  check_refused(SAM3_ERR_IO, "not a regular file");
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0);
  check_refused(SAM3_ERR_IO, "not a regular file");
  put("tokenizer.json", "{");
  assert_int_equal(truncate(path, 65 << 20), 0);
  check_refused(SAM3_ERR_LIMIT, "over the limit");
}

static void check_allocation_failures(void) {
  struct tokenizer *tokenizer;
  for (size_t n = 1, failed = 1; failed; n++) {
    mem_fail_at(n, n % 2);
    sam3_status status = tokenizer_open(directory, &tokenizer, &err);
    failed = mem_fail_at(0, false) >= n;
    assert_int_equal(status, failed ? SAM3_ERR_MEMORY : SAM3_OK);
    assert_true(failed ? tokenizer == NULL : n > 4);
  }
  tokenizer_close(tokenizer);
}

static void test_allocation_failures(void **state) {
  (void)state;
  put_tokenizer("", "\"%s %s\"", "");
  check_allocation_failures();
  put("tokenizer.json", NULL);
  put("vocab.json", vocab);
  small_merges_text(merges, "%s %s", "\n");
  put("merges.txt", merges);
  check_allocation_failures();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_tokenizer_json, clear_directory),
      cmocka_unit_test_teardown(test_vocab_and_merges, clear_directory),
      cmocka_unit_test_teardown(test_built_in, clear_directory),
      cmocka_unit_test(test_known_files),
      cmocka_unit_test_teardown(test_wrong_json, clear_directory),
      cmocka_unit_test_teardown(test_wrong_merges, clear_directory),
      cmocka_unit_test_teardown(test_wrong_files, clear_directory),
      cmocka_unit_test_teardown(test_allocation_failures, clear_directory),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
