#include "serve/prompts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "serve/translate.h"

void prompt_list_free(struct prompt_list *prompts) {
  for (size_t i = 0; i < prompts->count; i++) {
    free((void *)prompts->items[i].text);
    free((void *)prompts->items[i].boxes);
    free(prompts->sent[i]);
  }
  free(prompts->items);
  free(prompts->sent);
  *prompts = (struct prompt_list){0};
}

/* `item` is an object of the keys `a` and `b` only. */
static sam3_status check_keys(const json_t *item, const char *a, const char *b, const char *name,
                              struct sam3_error *err) {
  if (!json_is_object(item))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: not an object", name);
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)item, key, value) {
    if (strcmp(key, a) != 0 && strcmp(key, b) != 0)
      return fail(err, SAM3_ERR_ARGUMENT, "%s: unknown key \"%.40s\"", name, key);
  }
  return SAM3_OK;
}

static sam3_status read_box(const json_t *item, const char *name, struct sam3_box *box, struct sam3_error *err) {
  TRY(check_keys(item, "box", "label", name, err));
  const json_t *numbers = json_object_get(item, "box"), *label = json_object_get(item, "label");
  float v[4];
  bool four = json_array_size(numbers) == 4;
  for (size_t i = 0; i < 4 && four; i++) {
    four = json_is_number(json_array_get(numbers, i));
    v[i] = (float)json_number_value(json_array_get(numbers, i));
  }
  if (!four)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: \"box\" is not an array of four numbers", name);
  if (!isfinite(v[0]) || !isfinite(v[1]) || !isfinite(v[2]) || !isfinite(v[3]))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: a coordinate is not a finite number", name);
  if (!(v[0] < v[2] && v[1] < v[3]))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: x0 must be less than x1, and y0 less than y1", name);
  if (label && !(json_is_integer(label) && json_integer_value(label) >= 0 && json_integer_value(label) <= 1))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: \"label\" is neither 1 nor 0", name);
  *box = (struct sam3_box){v[0], v[1], v[2], v[3], !label || json_integer_value(label)};
  return SAM3_OK;
}

static sam3_status read_prompt(const json_t *item, const char *list, size_t index, struct sam3_prompt *prompt,
                               struct sam3_error *err) {
  char name[300];
  snprintf(name, sizeof name, "%.200s[%zu]", list, index);
  TRY(check_keys(item, "text", "boxes", name, err));
  const json_t *text = json_object_get(item, "text"), *boxes = json_object_get(item, "boxes");
  if (text && !json_is_null(text) && !json_is_string(text))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: \"text\" is neither a string nor null", name);
  if (boxes && !json_is_null(boxes) && !json_is_array(boxes))
    return fail(err, SAM3_ERR_ARGUMENT, "%s: \"boxes\" is not an array", name);
  size_t n = json_array_size(boxes);
  if (!json_is_string(text) && !n)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: neither a \"text\" nor \"boxes\"", name);
  if (json_is_string(text) && !(prompt->text = mem_strdup(json_string_value(text))))
    return fail_memory(err, json_string_length(text), "a prompt");
  struct sam3_box *read = n ? mem_zeroed(n, sizeof *read) : NULL;
  if (n && !read)
    return fail_memory(err, n * sizeof *read, "boxes");
  prompt->boxes = read;
  prompt->n_boxes = n;
  for (size_t i = 0; i < n; i++) {
    snprintf(name, sizeof name, "%.200s[%zu].boxes[%zu]", list, index, i);
    TRY(read_box(json_array_get(boxes, i), name, &read[i], err));
  }
  return SAM3_OK;
}

sam3_status prompts_translate(struct prompt_list *prompts, struct sam3_error *err) {
  for (size_t i = 0; i < prompts->count; i++) {
    char *text = (char *)prompts->items[i].text, *english;
    if (!text || !is_chinese(text))
      continue;
    TRY(translate(text, &english, err));
    prompts->items[i].text = english;
    prompts->sent[i] = text;
  }
  return SAM3_OK;
}

sam3_status prompts_from_json(const json_t *json, const char *name, size_t most, struct prompt_list *prompts,
                              struct sam3_error *err) {
  *prompts = (struct prompt_list){0};
  size_t n = json_array_size(json);
  if (!json_is_array(json) || !n)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: not a list of prompts, [{\"text\": \"dog\", \"boxes\": []}, ...]", name);
  if (n > most)
    return fail(err, SAM3_ERR_LIMIT, "%s: %zu are more than the limit of %zu", name, n, most);
  prompts->items = mem_zeroed(n, sizeof *prompts->items);
  prompts->sent = mem_zeroed(n, sizeof *prompts->sent);
  sam3_status status = prompts->items && prompts->sent ? SAM3_OK : fail_memory(err, n * 64, "prompts");
  for (size_t i = 0; status == SAM3_OK && i < n; i++) {
    prompts->count = i + 1;
    status = read_prompt(json_array_get(json, i), name, i, &prompts->items[i], err);
  }
  if (status != SAM3_OK)
    prompt_list_free(prompts);
  return status;
}
