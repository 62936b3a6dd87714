/* sam3 convert: a checkpoint of any layout as a Hugging Face directory. */
#include <string.h>

#include "cli/cli.h"

static const char doc[] = "Writes the checkpoint IN as a Hugging Face directory OUT, which must not exist yet.\n"
                          "\v"
                          "IN is a Hugging Face directory, a .safetensors file or Meta's sam3.pt. bf16 halves a model "
                          "in f32; what it computes in is another matter (segment --dtype).\n"
                          "\n"
                          "Example:\n"
                          "  sam3 convert sam3.pt models/sam3-bf16 --dtype bf16";

struct convert {
  const char *paths[2];
  sam3_dtype dtype;
};

enum { KEY_DTYPE = 256 };

static error_t parse(int key, char *value, struct argp_state *state) {
  struct convert *run = state->input;
  switch (key) {
  case KEY_DTYPE:
    run->dtype = parse_dtype(state, "--dtype", value);
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num >= 2)
      argp_error(state, "too many arguments: %s", value);
    run->paths[state->arg_num] = value;
    return 0;
  case ARGP_KEY_END:
    if (state->arg_num < 2)
      argp_error(state, state->arg_num ? "no OUT given" : "no IN given");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

int convert_main(int argc, char **argv) {
  static const struct argp_option options[] = {
      {"dtype", KEY_DTYPE, "DTYPE", 0, "of the stored weights: bf16 (default), f16 or f32", 0}, {0}};
  const struct argp_child children[] = {{&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, "IN OUT", doc, children, NULL, NULL};
  struct convert run = {.dtype = SAM3_BF16};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);
  struct sam3_error err;
  return sam3_model_convert(run.paths[0], run.paths[1], run.dtype, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}
