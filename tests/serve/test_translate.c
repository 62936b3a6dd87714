/* Chinese phrases to English. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "serve/assets.h"
#include "serve/translate.h"

static const char *phrases; /* a file: Chinese, tab, English or "!" where it cannot be translated */

static void known_phrases(void **state) {
  (void)state;
  char row[400];
  int read = 0;
  FILE *file = fopen(phrases, "r");
  assert_non_null(file);
  while (fgets(row, sizeof row, file)) {
    row[strcspn(row, "\n")] = '\0';
    char *want = strchr(row, '\t'), *english;
    if (*row == '#')
      continue;
    assert_non_null(want);
    *want++ = '\0';
    read++;
    struct sam3_error err;
    assert_true(is_chinese(row));
    sam3_status status = translate(row, &english, &err);
    if (strcmp(want, "!") == 0) {
      assert_int_equal(status, SAM3_ERR_UNSUPPORTED);
      assert_null(english);
      assert_non_null(strstr(err.message, row));
      continue;
    }
    if (status != SAM3_OK)
      fail_msg("%s", err.message);
    if (strcmp(english, want) != 0)
      fail_msg("%s: '%s', not '%s'", row, english, want);
    free(english);
  }
  fclose(file);
  assert_true(read > 500);
}

static void other_scripts(void **state) {
  (void)state;
  assert_false(is_chinese("red car"));
  assert_false(is_chinese(""));
  assert_false(is_chinese("né à café, ключ, \xff\xfe"));
  assert_true(is_chinese("red 车"));
}

/* Whatever the bytes, an answer and no way around it in more than a moment. */
static void hostile_phrases(void **state) {
  (void)state;
  char *english;
  struct sam3_error err;
  char text[2000] = "";
  for (int i = 0; i < 600; i++)
    strcat(text, "一");
  assert_int_equal(translate(text, &english, &err), SAM3_ERR_UNSUPPORTED);
  text[3 * 79] = '\0'; /* 79 numbers, each of which might be something else */
  assert_int_equal(translate(text, &english, &err), SAM3_ERR_UNSUPPORTED);
  assert_int_equal(translate("红\xe7\x8b", &english, &err), SAM3_ERR_UNSUPPORTED);
  assert_int_equal(translate("\xf0\x9f狗", &english, &err), SAM3_ERR_UNSUPPORTED);
}

/* Every word of the glossary can be said; there are enough of them. */
static void whole_glossary(void **state) {
  (void)state;
  const struct asset *asset = asset_find("zh-en.tsv");
  char *copy = strndup(asset->bytes, asset->size), *rest = copy;
  int nouns = 0;
  for (char *row; (row = strsep(&rest, "\n"));) {
    if (*row == '#' || !*row)
      continue;
    char *kind = strsep(&row, "\t"), *meaning = strsep(&row, "\t");
    assert_non_null(row);
    if (*kind != 'n')
      continue;
    nouns++;
    for (char *word; (word = strsep(&row, ","));) {
      char *english;
      struct sam3_error err;
      if (translate(word, &english, &err) != SAM3_OK)
        fail_msg("%s", err.message);
      assert_string_equal(english, meaning);
      free(english);
    }
  }
  assert_true(nouns >= 600);
  free(copy);
}

int main(int argc, char **argv) {
  phrases = argc > 1 ? argv[1] : "phrases.tsv";
  const struct CMUnitTest tests[] = {cmocka_unit_test(known_phrases), cmocka_unit_test(other_scripts),
                                     cmocka_unit_test(hostile_phrases), cmocka_unit_test(whole_glossary)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
