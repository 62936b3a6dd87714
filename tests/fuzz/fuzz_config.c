/* config.json; what it lets through must keep its promises to the code behind. */
#include <stdlib.h>

#include "model/config.h"

static bool stack_is_sound(struct config_stack stack, int dim) {
  return stack.layers >= 1 && stack.layers <= CONFIG_MAX_LAYERS && stack.heads >= 1 && dim % stack.heads == 0 &&
         stack.mlp >= 1;
}

/* The last global layer, or the last of all where none is global. */
static int last_that_counts(const struct config_vision *v) {
  for (int i = v->stack.layers - 1; i >= 0; i--)
    if (v->is_global[i])
      return i;
  return v->stack.layers - 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct config c;
  struct sam3_error err = {0};
  if (config_parse((const char *)data, size, "config.json", &c, &err) != SAM3_OK) {
    if (!err.message[0])
      abort();
    return 0;
  }
  const struct config_vision *v = &c.vision;
  if (!stack_is_sound(v->stack, v->dim) || v->dim / v->stack.heads % 4 || v->grid < 1 ||
      v->grid != v->image / v->patch || v->table < 1 || v->window < 1 || v->last_global != last_that_counts(v) ||
      !(v->rope_theta > 0 && v->rope_theta < 1e13f))
    abort();
  if (!stack_is_sound(c.text.stack, c.text.dim) || c.text.vocab < 1 || c.text.context < 2 ||
      c.text.context > c.text.positions || c.text.context > CONFIG_MAX_CONTEXT)
    abort();
  if (c.dim < 8 || c.dim % CONFIG_NORM_GROUPS || !stack_is_sound(c.geometry, c.dim) || c.roi < 1 ||
      !stack_is_sound(c.fusion, c.dim) || !stack_is_sound(c.decoder, c.dim) || c.queries < 1 || c.mask_heads < 1 ||
      c.dim % c.mask_heads)
    abort();
  return 0;
}
