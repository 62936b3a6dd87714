/* Any bytes as the prompts of a request; what is accepted is what the engine takes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "serve/prompts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
  if (!condition)
    abort();
}

static void check(const struct prompt_list *prompts) {
  require(prompts->count >= 1 && prompts->count <= 8);
  for (size_t i = 0; i < prompts->count; i++) {
    const struct sam3_prompt *p = &prompts->items[i];
    require(p->text || p->n_boxes);
    for (size_t k = 0; k < p->n_boxes; k++) {
      const struct sam3_box *b = &p->boxes[k];
      require(isfinite(b->x0) && isfinite(b->y1) && b->x0 < b->x1 && b->y0 < b->y1);
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  json_t *json;
  struct prompt_list prompts;
  struct sam3_error err = {0};
  if (json_parse((const char *)data, size, "prompts", &json, &err) != SAM3_OK) {
    require(*err.message);
    return 0;
  }
  if (prompts_from_json(json, "prompts", 8, &prompts, &err) == SAM3_OK) {
    check(&prompts);
    if (prompts_translate(&prompts, &err) == SAM3_OK)
      check(&prompts);
    else
      require(err.status == SAM3_ERR_UNSUPPORTED && *err.message);
    prompt_list_free(&prompts);
  } else {
    require(*err.message && !prompts.items && !prompts.count);
  }
  json_decref(json);
  return 0;
}
