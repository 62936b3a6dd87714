#include "cli/prompts.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/prompts.h"

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

/* Takes over what the list has. */
static void append(struct prompts *prompts, struct prompt_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    *add(prompts) = list->items[i];
    list->items[i] = (struct sam3_prompt){0};
  }
}

bool prompts_read_file(struct prompts *prompts) {
  const char *path = prompts->file;
  if (!path)
    return true;
  json_error_t error;
  bool standard = strcmp(path, "-") == 0;
  const char *name = standard ? "standard input" : path;
  FILE *stream = standard ? stdin : fopen(path, "re");
  json_t *list = stream ? json_loadf(stream, JSON_REJECT_DUPLICATES, &error) : NULL;
  struct prompt_list read = {0};
  struct sam3_error err;
  bool good = false;
  if (!stream || ferror(stream)) /* jansson takes a read error for the end of the file */
    complain("--prompts %s: %s", path, strerror(errno));
  else if (!list)
    complain("%s: line %d, column %d: %s", name, error.line, error.column, error.text);
  else if (!(good = prompts_from_json(list, name, SIZE_MAX, &read, &err) == SAM3_OK))
    complain("%s", err.message);
  append(prompts, &read);
  prompt_list_free(&read);
  json_decref(list);
  if (stream && !standard)
    fclose(stream);
  return good;
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
