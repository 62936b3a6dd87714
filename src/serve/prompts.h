/* Prompts of a request: JSON as --prompts takes it, Chinese texts translated. */
#ifndef SAM3_SERVE_PROMPTS_H
#define SAM3_SERVE_PROMPTS_H

#include <jansson.h>

#include "sam3.h"

struct prompt_list {
  struct sam3_prompt *items; /* texts and boxes are owned */
  char **sent;               /* of each: its text before it was translated, or NULL when it was not */
  size_t count;
};

/* SAM3_ERR_ARGUMENT: not of the form; SAM3_ERR_LIMIT: more than `most`; SAM3_ERR_UNSUPPORTED: not translated. */
sam3_status prompts_from_json(const json_t *json, size_t most, struct prompt_list *prompts, struct sam3_error *err);
void prompt_list_free(struct prompt_list *prompts);

#endif
