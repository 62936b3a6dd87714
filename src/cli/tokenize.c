/* sam3 tokenize: the official token ids of texts. */
#include <errno.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] = "Prints the token ids of each text, start and end included: one JSON array a line.\n"
                          "\v"
                          "Example:\n"
                          "  sam3 tokenize \"red car\" dog";

struct tokenize {
  const char *model;
  char **texts;
  int count;
};

static error_t parse(int key, char *value, struct argp_state *state) {
  struct tokenize *run = state->input;
  switch (key) {
  case 'm':
    run->model = value;
    return 0;
  case ARGP_KEY_ARGS:
    run->texts = state->argv + state->next;
    run->count = state->argc - state->next;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_error(state, "no TEXT given");
    return EINVAL;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

#define FIRST_CAPACITY 64

static int print_ids(const sam3_model *model, const char *text) {
  struct sam3_error err;
  size_t count, capacity = FIRST_CAPACITY;
  int32_t few[FIRST_CAPACITY], *ids = few;
  sam3_status status = sam3_model_tokenize(model, text, ids, capacity, &count, &err);
  if (status == SAM3_OK && count > capacity) {
    ids = need(calloc(count, sizeof *ids));
    status = sam3_model_tokenize(model, text, ids, count, &count, &err);
  }
  if (status == SAM3_OK) {
    for (size_t i = 0; i < count; i++)
      printf("%s%d", i ? ", " : "[", ids[i]);
    puts("]");
  }
  if (ids != few)
    free(ids);
  return status == SAM3_OK ? EXIT_DONE : failed(&err);
}

int tokenize_main(int argc, char **argv) {
  static const struct argp_option options[] = {
      {"model", 'm', "MODEL", 0, "with the vocabulary of this model (default: the built-in one of CLIP)", 0}, {0}};
  const struct argp_child children[] = {{&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, "TEXT...", doc, children, NULL, NULL};
  struct tokenize run = {0};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);

  struct sam3_error err;
  sam3_model *model = NULL;
  if (run.model && sam3_model_open(run.model, &model, &err) != SAM3_OK)
    return failed(&err);
  int code = EXIT_DONE;
  for (int i = 0; i < run.count && code == EXIT_DONE; i++)
    code = print_ids(model, run.texts[i]);
  sam3_model_close(model);
  return code;
}
