#include "cli/prompts.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct sam3_prompt *add(struct prompts *prompts) {
  prompts->items = grow(prompts->items, prompts->count, sizeof *prompts->items);
  struct sam3_prompt *prompt = &prompts->items[prompts->count++];
  *prompt = (struct sam3_prompt){0};
  return prompt;
}

static void add_box(struct sam3_prompt *prompt, struct sam3_box box) {
  struct sam3_box *boxes = grow((void *)prompt->boxes, prompt->n_boxes, sizeof *boxes);
  boxes[prompt->n_boxes++] = box;
  prompt->boxes = boxes;
}

void prompts_add_text(struct prompts *prompts, const char *text) {
  add(prompts)->text = need(strdup(text));
}

void prompts_add_box(struct prompts *prompts, struct sam3_box box) {
  add_box(prompts->count ? &prompts->items[prompts->count - 1] : add(prompts), box);
}

void prompts_free(struct prompts *prompts) {
  for (size_t i = 0; i < prompts->count; i++) {
    free((void *)prompts->items[i].text);
    free((void *)prompts->items[i].boxes);
  }
  free(prompts->items);
  *prompts = (struct prompts){0};
}

/* The first key of `object` that is neither `a` nor `b`. */
static const char *unknown_key(json_t *object, const char *a, const char *b) {
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    if (strcmp(key, a) != 0 && strcmp(key, b) != 0)
      return key;
  }
  return NULL;
}

/* One of "boxes"; NULL, or what is wrong with it. `problem` is room for a message. */
static const char *read_box(json_t *item, struct sam3_box *box, char problem[100]) {
  if (!json_is_object(item))
    return "not an object {\"box\": [x0, y0, x1, y1], \"label\": 1 or 0}";
  const char *key = unknown_key(item, "box", "label");
  if (key) {
    snprintf(problem, 100, "unknown key \"%.40s\"", key);
    return problem;
  }
  json_t *numbers = json_object_get(item, "box"), *label = json_object_get(item, "label");
  if (json_array_size(numbers) != 4)
    return "\"box\" is not an array of four numbers";
  double v[4];
  for (size_t i = 0; i < 4; i++) {
    if (!json_is_number(json_array_get(numbers, i)))
      return "\"box\" is not an array of four numbers";
    v[i] = json_number_value(json_array_get(numbers, i));
  }
  if (label && !(json_is_integer(label) && json_integer_value(label) >= 0 && json_integer_value(label) <= 1))
    return "\"label\" is neither 1 nor 0";
  *box = (struct sam3_box){(float)v[0], (float)v[1], (float)v[2], (float)v[3], !label || json_integer_value(label)};
  return box_problem(v);
}

static bool read_prompt(json_t *item, const char *path, size_t index, struct sam3_prompt *prompt) {
  const char *key = json_is_object(item) ? unknown_key(item, "text", "boxes") : NULL;
  json_t *text = json_object_get(item, "text"), *boxes = json_object_get(item, "boxes"), *box;
  if (!json_is_object(item))
    complain("%s: prompt %zu: not an object {\"text\": ..., \"boxes\": [...]}", path, index);
  else if (key)
    complain("%s: prompt %zu: unknown key \"%s\"", path, index, key);
  else if (text && !json_is_null(text) && !json_is_string(text))
    complain("%s: prompt %zu: \"text\" is neither a string nor null", path, index);
  else if (boxes && !json_is_null(boxes) && !json_is_array(boxes))
    complain("%s: prompt %zu: \"boxes\" is not an array", path, index);
  else if (!json_is_string(text) && json_array_size(boxes) == 0)
    complain("%s: prompt %zu: neither a \"text\" nor \"boxes\"", path, index);
  else {
    if (json_is_string(text))
      prompt->text = need(strdup(json_string_value(text)));
    size_t i;
    json_array_foreach(boxes, i, box) {
      char room[100];
      struct sam3_box read;
      const char *problem = read_box(box, &read, room);
      if (problem) {
        complain("%s: prompt %zu: boxes[%zu]: %s", path, index, i, problem);
        return false;
      }
      add_box(prompt, read);
    }
    return true;
  }
  return false;
}

bool prompts_read(struct prompts *prompts, const char *path) {
  json_error_t error;
  bool standard = strcmp(path, "-") == 0;
  json_t *list = standard ? json_loadf(stdin, JSON_REJECT_DUPLICATES, &error)
                          : json_load_file(path, JSON_REJECT_DUPLICATES, &error);
  bool good = json_is_array(list) && json_array_size(list) > 0;
  if (!list && error.line < 0) /* could not be opened; the text says so with the path */
    complain("--prompts: %s", error.text);
  else if (!list)
    complain("%s: line %d, column %d: %s", path, error.line, error.column, error.text);
  else if (!good)
    complain("%s: not a list of prompts, [{\"text\": \"dog\", \"boxes\": []}, ...]", path);
  size_t i;
  json_t *item;
  json_array_foreach(list, i, item) {
    if (good)
      good = read_prompt(item, path, i, add(prompts));
  }
  json_decref(list);
  return good;
}

bool prompts_read_file(struct prompts *prompts) {
  return !prompts->file || prompts_read(prompts, prompts->file);
}

/* ------------------------------------------------------------------------------------------ flags */

enum { KEY_BOX = 384, KEY_NOT_BOX, KEY_PROMPTS };

static error_t parse(int key, char *value, struct argp_state *state) {
  struct prompts *prompts = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    prompts->threshold = SAM3_DEFAULT_THRESHOLD;
    return 0;
  case 'p':
    prompts_add_text(prompts, value);
    return 0;
  case KEY_BOX:
    prompts_add_box(prompts, parse_box(state, "--box", value, true));
    return 0;
  case KEY_NOT_BOX:
    prompts_add_box(prompts, parse_box(state, "--not-box", value, false));
    return 0;
  case KEY_PROMPTS:
    if (prompts->file)
      argp_error(state, "--prompts %s: there is already --prompts %s", value, prompts->file);
    prompts->file = value;
    return 0;
  case 't':
    prompts->threshold = parse_threshold(state, "--threshold", value);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

void prompts_require(const struct prompts *prompts, struct argp_state *state) {
  if (!prompts->count && !prompts->file)
    argp_error(state, "nothing to look for: give -p TEXT, --box X0,Y0,X1,Y1 or --prompts FILE");
}

const struct argp prompts_argp = {
    .options =
        (const struct argp_option[]){
            {0, 0, 0, 0, "What to look for:", 1},
            {"prompt", 'p', "TEXT", 0, "begin a prompt: a phrase, as \"red car\"", 0},
            {"box", KEY_BOX, "X0,Y0,X1,Y1", 0, "to the last prompt: an example, in pixels of the image", 0},
            {"not-box", KEY_NOT_BOX, "X0,Y0,X1,Y1", 0, "to the last prompt: not like this", 0},
            {"prompts", KEY_PROMPTS, "FILE", 0, "more prompts, as JSON; - is standard input", 0},
            {"threshold", 't', "SCORE", 0, "keep detections that score above it, 0 to 1 (default 0.5)", 0},
            {0}},
    .parser = parse};
