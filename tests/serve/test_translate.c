/* Chinese phrases to English. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "serve/assets.h"
#include "serve/translate.h"

static void known_phrases(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
      {"狗", "dog"},
      {"红色的汽车", "red car"},
      {"紅色的汽車", "red car"},
      {"两只狗", "dog"},
      {"兩隻狗", "dog"},
      {"三辆红色的公交车", "red bus"},
      {"所有的蓝色气球", "blue balloon"},
      {"這些黃色的星星", "yellow star"},
      {"一把剪刀", "pair of scissors"},
      {"生日蛋糕", "birthday cake"},
      {"长颈鹿", "giraffe"},
      {"粉红色的心", "pink heart"},
      {"小狗", "dog"},
      {"大的红色卡车", "big red truck"},
      {"3只猫", "cat"},
      {"红色的 car", "red car"},
      {"　红色，汽车。", "red car"},
      {"牛头", NULL},
      {"红色", NULL},
      {"两只", NULL},
      {"量子纠缠", NULL},
      {"红色的量子", NULL},
      {"的", NULL},
  };
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    char *english;
    struct sam3_error err;
    assert_true(is_chinese(pairs[i][0]));
    sam3_status status = translate(pairs[i][0], &english, &err);
    if (!pairs[i][1]) {
      assert_int_equal(status, SAM3_ERR_UNSUPPORTED);
      assert_null(english);
      assert_non_null(strstr(err.message, pairs[i][0]));
      continue;
    }
    if (status != SAM3_OK)
      fail_msg("%s", err.message);
    assert_string_equal(english, pairs[i][1]);
    free(english);
  }
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(known_phrases), cmocka_unit_test(other_scripts),
                                     cmocka_unit_test(hostile_phrases), cmocka_unit_test(whole_glossary)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
