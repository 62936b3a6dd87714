#include "engine/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* "/models/sam3.pt" -> "sam3", "/models/demo/" -> "demo". */
static char *name_of(const char *path) {
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/')
    end--;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/')
    begin--;
  static const char *const endings[] = {".safetensors", ".pt"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    size_t n = strlen(endings[i]);
    if (end - begin > n && strncmp(path + end - n, endings[i], n) == 0) {
      end -= n;
      break;
    }
  }
  char *name = mem_alloc(end - begin + 1);
  if (name) {
    memcpy(name, path + begin, end - begin);
    name[end - begin] = '\0';
  }
  return name;
}

/* The parts of a model behind its checkpoint, which may be NULL. */
static sam3_status open_parts(sam3_model *m, const char *path, const struct config *config, uint64_t seed,
                              struct sam3_error *err) {
  if (!(m->name = name_of(path)))
    return fail_memory(err, strlen(path), path);
  TRY(tokenizer_open(m->weights ? weights_directory(m->weights) : NULL, &m->tokenizer, err));
  TRY(network_load(&m->network, config, m->weights, seed, err));
  return model_describe(m, &m->description, err);
}

static sam3_status open_checkpoint(sam3_model *m, const char *path, struct sam3_error *err) {
  struct config config;
  TRY(weights_open(path, &m->weights, err));
  TRY(config_of_checkpoint(path, &config, err));
  return open_parts(m, path, &config, 0, err);
}

static sam3_status create(sam3_model **model, struct sam3_error *err) {
  *model = mem_zeroed(1, sizeof **model);
  return *model ? SAM3_OK : fail_memory(err, sizeof **model, "a model");
}

static sam3_status closed_unless_ok(sam3_status status, sam3_model **model) {
  if (status != SAM3_OK) {
    sam3_model_close(*model);
    *model = NULL;
  }
  return status;
}

sam3_status sam3_model_open(const char *path, sam3_model **model, struct sam3_error *err) {
  TRY(create(model, err));
  return closed_unless_ok(open_checkpoint(*model, path, err), model);
}

sam3_status sam3_model_random(const char *config_path, uint64_t seed, sam3_model **model, struct sam3_error *err) {
  struct config config;
  *model = NULL;
  TRY(config_read(config_path, &config, err));
  TRY(create(model, err));
  return closed_unless_ok(open_parts(*model, "random", &config, seed, err), model);
}

const char *sam3_model_name(const sam3_model *model) {
  return model->name;
}

const char *sam3_model_describe(const sam3_model *model) {
  return model->description;
}

sam3_status sam3_model_tokenize(const sam3_model *model, const char *text, int32_t *ids, size_t capacity, size_t *count,
                                struct sam3_error *err) {
  *count = 0;
  struct tokenizer *builtin = NULL;
  if (!model)
    TRY(tokenizer_open(NULL, &builtin, err));
  int context = model ? model->network.config.text.context : CONFIG_MAX_CONTEXT, n = 0;
  int32_t all[CONFIG_MAX_CONTEXT];
  sam3_status status = tokenizer_encode(model ? model->tokenizer : builtin, text, strlen(text), context, all, &n, err);
  tokenizer_close(builtin);
  if (status != SAM3_OK)
    return status;
  *count = (size_t)n;
  memcpy(ids, all, (*count < capacity ? *count : capacity) * sizeof *ids);
  return SAM3_OK;
}

void sam3_model_close(sam3_model *model) {
  if (!model)
    return;
  network_free(&model->network);
  tokenizer_close(model->tokenizer);
  weights_close(model->weights);
  free(model->description);
  free(model->name);
  free(model);
}
