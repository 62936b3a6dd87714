/* The list of prompts, from flags and from files. */
#ifndef SAM3_CLI_PROMPTS_H
#define SAM3_CLI_PROMPTS_H

#include "cli/cli.h"

struct prompts {
  struct sam3_prompt *items; /* texts and boxes are owned */
  size_t count;
  const char *file; /* of --prompts; NULL: none */
  float threshold;
};

/* -p, --box, --not-box, --prompts and --threshold: a child of the argp of a command that segments. */
extern const struct argp prompts_argp;
/* Ends the program as wrong usage unless there is something to look for. */
void prompts_require(const struct prompts *prompts, struct argp_state *state);

/* -p: begins a prompt. */
void prompts_add_text(struct prompts *prompts, const char *text);
/* --box and --not-box: to the last prompt, or to a new one without text. */
void prompts_add_box(struct prompts *prompts, struct sam3_box box);
/* Appends those of the JSON file of --prompts ("-" is standard input), if it was given: [{"text": s | null, "boxes":
 * [{"box": [x0, y0, x1, y1], "label": 1 | 0}]}]. False after complaining about file, index and field. */
bool prompts_read_file(struct prompts *prompts);
void prompts_free(struct prompts *prompts);

#endif
