/* sam3_model_describe: what `sam3 info` prints. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/error.h"
#include "engine/model.h"

static json_t *describe_stack(struct config_stack stack) {
  return json_pack("{si si si}", "layers", stack.layers, "heads", stack.heads, "mlp", stack.mlp);
}

static json_t *describe_config(const struct config *c) {
  json_t *global = json_array();
  for (int i = 0; i < c->vision.stack.layers; i++)
    if (c->vision.is_global[i])
      json_array_append_new(global, json_integer(i));
  json_t *vision = json_pack("{si si si si si si so so}", "dim", c->vision.dim, "image", c->vision.image, "patch",
                             c->vision.patch, "grid", c->vision.grid, "window", c->vision.window, "position_table",
                             c->vision.table, "global_layers", global, "stack", describe_stack(c->vision.stack));
  json_t *text = json_pack("{si si si so}", "dim", c->text.dim, "vocabulary", c->text.vocab, "context", c->text.context,
                           "stack", describe_stack(c->text.stack));
  return json_pack("{si si si si so so so so so}", "dim", c->dim, "queries", c->queries, "roi", c->roi, "mask_heads",
                   c->mask_heads, "vision", vision, "text", text, "geometry", describe_stack(c->geometry), "fusion",
                   describe_stack(c->fusion), "decoder", describe_stack(c->decoder));
}

static json_t *find_named(json_t *list, const char *name) {
  for (size_t i = 0; i < json_array_size(list); i++)
    if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), name) == 0)
      return json_array_get(list, i);
  return NULL;
}

/* Adds to the entry of `list` whose "name" is `name`, which is made when it is not there. */
static void add_to(json_t *list, const char *name, const char *counter, json_int_t count, uint64_t bytes) {
  json_t *entry = find_named(list, name);
  if (!entry) {
    entry = json_pack("{ss sI sI}", "name", name, counter, (json_int_t)0, "bytes", (json_int_t)0);
    json_array_append_new(list, entry);
  }
  json_t *total = json_object_get(entry, counter), *size = json_object_get(entry, "bytes");
  json_integer_set(total, json_integer_value(total) + count);
  json_integer_set(size, json_integer_value(size) + (json_int_t)bytes);
}

/* Fills in parts, dtypes and tensors of what the checkpoint holds. */
static void describe_tensors(const struct weights *weights, json_t *parts, json_t *dtypes, json_t *tensors) {
  for (size_t i = 0; i < weights_count(weights); i++) {
    struct tensor_info info = weights_info(weights, i);
    json_int_t count = 1;
    json_t *shape = json_array();
    for (int d = 0; d < info.rank; d++) {
      count *= info.dims[d];
      json_array_append_new(shape, json_integer(info.dims[d]));
    }
    add_to(parts, info.part, "parameters", count, info.bytes);
    add_to(dtypes, info.dtype, "tensors", 1, info.bytes);
    json_array_append_new(tensors, json_pack("{ss ss so ss sb}", "name", info.name, "dtype", info.dtype, "shape", shape,
                                             "part", info.part, "used", info.used));
  }
}

sam3_status model_describe(const sam3_model *model, char **json, struct sam3_error *err) {
  json_t *parts = json_array(), *dtypes = json_array(), *tensors = json_array();
  if (model->weights && parts && dtypes && tensors)
    describe_tensors(model->weights, parts, dtypes, tensors);
  json_t *root = json_pack(
      "{ss ss so so so so}", "name", model->name, "format", model->weights ? weights_format(model->weights) : "random",
      "config", describe_config(&model->network.config), "parts", parts, "dtypes", dtypes, "tensors", tensors);
  *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
  json_decref(root);
  return *json ? SAM3_OK : fail(err, SAM3_ERR_MEMORY, "out of memory: the description of model %s", model->name);
}
