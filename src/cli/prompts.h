/* The list of prompts, from flags and from files. */
#ifndef SAM3_CLI_PROMPTS_H
#define SAM3_CLI_PROMPTS_H

#include "cli/cli.h"

struct prompts {
  struct sam3_prompt *items; /* texts and boxes are owned */
  size_t count;
};

/* -p: begins a prompt. */
void prompts_add_text(struct prompts *prompts, const char *text);
/* --box and --not-box: to the last prompt, or to a new one without text. */
void prompts_add_box(struct prompts *prompts, struct sam3_box box);
/* --prompts: appends those of a JSON file ("-" is standard input), [{"text": s | null, "boxes": [{"box": [x0, y0, x1,
 * y1], "label": 1 | 0}]}]. False after complaining about file, index and field. */
bool prompts_read(struct prompts *prompts, const char *path);
void prompts_free(struct prompts *prompts);

#endif
