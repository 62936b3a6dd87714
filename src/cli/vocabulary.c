#include "cli/vocabulary.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static bool are_texts(const json_t *array) {
  size_t i;
  json_t *item;
  json_array_foreach(array, i, item) {
    if (!json_is_string(item))
      return false;
  }
  return json_is_array(array);
}

static bool makes_sense(json_t *vocabulary) {
  json_t *concepts = json_object_get(vocabulary, "concepts"), *words;
  const char *name;
  json_object_foreach(concepts, name, words) {
    if (!are_texts(words))
      return false;
  }
  return json_is_object(concepts) && are_texts(json_object_get(vocabulary, "colours")) &&
         are_texts(json_object_get(vocabulary, "coloured"));
}

json_t *load_vocabulary(const char *model) {
  char path[PATH_MAX];
  if ((size_t)snprintf(path, sizeof path, "%s/vocabulary.json", model) >= sizeof path)
    return NULL;
  json_t *vocabulary = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
  if (vocabulary && makes_sense(vocabulary))
    return vocabulary;
  json_decref(vocabulary);
  return NULL;
}

json_t *vocabulary_names(const json_t *vocabulary) {
  json_t *names = need(json_array()), *words;
  const char *name;
  json_object_foreach(json_object_get(vocabulary, "concepts"), name, words)
      json_array_append_new(names, json_string(name));
  return names;
}

/* Adds a word to a paragraph, on a new line when this one is full. */
static void put(const char *word, const char *mark, size_t *column) {
  size_t length = strlen(word) + strlen(mark) + 1;
  if (*column && *column + length > 100) {
    puts("");
    *column = 0;
  }
  printf("%s%s%s", *column ? " " : "  ", word, mark);
  *column += length;
}

static void put_list(const json_t *array, const char *end, size_t *column) {
  size_t i, n = json_array_size(array);
  json_t *word;
  json_array_foreach(array, i, word) put(json_string_value(word), i + 1 < n ? "," : end, column);
}

void print_vocabulary(const json_t *vocabulary) {
  json_t *concepts = json_object_get(vocabulary, "concepts"), *words;
  const char *name;
  size_t column = 0, left = json_object_size(concepts);
  puts("knows, in singular and plural (and by the words after a slash):");
  json_object_foreach(concepts, name, words) {
    char *all = need(strdup(name));
    size_t i;
    json_t *word;
    json_array_foreach(words, i, word) {
      char *longer;
      need(asprintf(&longer, "%s/%s", all, json_string_value(word)) < 0 ? NULL : longer);
      free(all);
      all = longer;
    }
    put(all, --left ? "," : "", &column);
    free(all);
  }
  puts("\nin colours, as in \"red car\":");
  column = 0;
  put_list(json_object_get(vocabulary, "colours"), "", &column);
  puts("\nof:");
  column = 0;
  put_list(json_object_get(vocabulary, "coloured"), "", &column);
  puts("");
}
