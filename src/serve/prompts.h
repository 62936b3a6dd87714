/* Prompts as JSON, of a request and of --prompts: [{"text": s | null, "boxes": [{"box": [x0, y0, x1, y1],
 * "label": 1 | 0}]}]. The program and the server read them here, so that they are the same. */
#ifndef SAM3_SERVE_PROMPTS_H
#define SAM3_SERVE_PROMPTS_H

#include <jansson.h>

#include "sam3.h"

struct prompt_list {
  struct sam3_prompt *items; /* texts and boxes are owned */
  char **sent;               /* of each: its text before it was translated, or NULL when it was not */
  size_t count;
};

/* SAM3_ERR_ARGUMENT: not of the form; SAM3_ERR_LIMIT: more than `most`. Messages call the list `name`. */
sam3_status prompts_from_json(const json_t *json, const char *name, size_t most, struct prompt_list *prompts,
                              struct sam3_error *err);
/* Chinese texts become English; those that were sent are kept. SAM3_ERR_UNSUPPORTED: one cannot be. */
sam3_status prompts_translate(struct prompt_list *prompts, struct sam3_error *err);
void prompt_list_free(struct prompt_list *prompts);

#endif
