#include "model/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"

/* Far above any real model, and low enough that products of two stay within int, of four within int64_t. */
#define MAX_FILE (1 << 20)
#define MAX_WIDTH 16384
#define MAX_MLP 65536
#define MAX_PATCH 512
#define MAX_WINDOW 1024
#define MAX_VOCAB (1 << 20)
#define MAX_POSITIONS 4096
#define MAX_QUERIES 10000
#define MAX_ROI 64

#define VIT "vision_config.backbone_config."

/* ------------------------------------------------------------------------------------ defaults */

struct config config_default(void) {
  struct config c = {
      .vision = {.stack = {.layers = 32, .heads = 16, .mlp = 4736},
                 .dim = 1024,
                 .image = 1008,
                 .patch = 14,
                 .grid = 72,
                 .table = 24,
                 .window = 24,
                 .last_global = 31,
                 .rope_theta = 10000},
      .text = {.stack = {.layers = 24, .heads = 16, .mlp = 4096},
               .dim = 1024,
               .vocab = 49408,
               .positions = 32,
               .context = 32},
      .dim = 256,
      .geometry = {.layers = 3, .heads = 8, .mlp = 2048},
      .roi = 7,
      .fusion = {.layers = 6, .heads = 8, .mlp = 2048},
      .decoder = {.layers = 6, .heads = 8, .mlp = 2048},
      .queries = 200,
      .mask_heads = 8,
  };
  c.vision.is_global[7] = c.vision.is_global[15] = c.vision.is_global[23] = c.vision.is_global[31] = true;
  return c;
}

/* A text_config that is there but incomplete is completed by transformers with CLIP's own defaults. */
static const struct config_text clip_default = {
    .stack = {.layers = 12, .heads = 8, .mlp = 2048}, .dim = 512, .vocab = 49408, .positions = 77};

/* ------------------------------------------------------------------------------- the JSON tree */

/* What a config.json says, before the numbers that follow from others are worked out. */
struct draft {
  struct config config;
  int pretrain; /* pretrain_image_size */
  int channels, stages;
  int geometry_dim, fusion_dim, decoder_dim, mask_dim;
};

struct source {
  const char *file;
  const char *prefix; /* "detector_config." or "": where the detector's keys are */
  json_t *root;       /* the detector's object */
  struct sam3_error *err;
};

/* "config.json: vision_config.fpn_hidden_size is 12: must be ..." */
__attribute__((format(printf, 5, 6))) static sam3_status
bad(const struct source *in, sam3_status status, const char *key, const json_t *value, const char *format, ...) {
  char shown[61] = "", why[200]; /* jansson leaves out what does not fit */
  size_t n = value ? json_dumpb(value, shown, sizeof shown - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII) : 0;
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  return fail(in->err, status, "%s: %s%s is %s%s: %s", in->file, in->prefix, key, value ? shown : "missing",
              n >= sizeof shown ? "..." : "", why);
}

/* The value at a dotted path, or NULL when it, or an object on the way, is missing or null. */
static sam3_status find(const struct source *in, const char *path, json_t **out) {
  json_t *at = in->root;
  for (const char *key = path;;) {
    size_t length = strcspn(key, ".");
    *out = at = json_object_getn(at, key, length);
    if (!at || json_is_null(at)) {
      *out = NULL;
      return SAM3_OK;
    }
    key += length;
    if (!*key)
      return SAM3_OK;
    if (!json_is_object(at)) {
      char section[80];
      snprintf(section, sizeof section, "%.*s", (int)(key - path), path);
      return bad(in, SAM3_ERR_FORMAT, section, at, "must be an object");
    }
    key++;
  }
}

/* ------------------------------------------------------------------------------------- numbers */

#define AT(field) offsetof(struct draft, field)
#define STACK(key, layers_key, field)                                                                                  \
  {key "." layers_key, AT(config.field.layers), 1, CONFIG_MAX_LAYERS, false},                                          \
      {key ".num_attention_heads", AT(config.field.heads), 1, MAX_WIDTH, false}, {                                     \
    key ".intermediate_size", AT(config.field.mlp), 1, MAX_MLP, false                                                  \
  }

static const struct number {
  const char *key;
  size_t at; /* offset of an int in struct draft */
  int least, most;
  bool side; /* a pair of equal numbers, height and width, will do */
} numbers[] = {
    STACK("vision_config.backbone_config", "num_hidden_layers", vision.stack),
    {VIT "hidden_size", AT(config.vision.dim), 1, MAX_WIDTH, false},
    {VIT "image_size", AT(config.vision.image), 1, CONFIG_MAX_IMAGE, true},
    {VIT "patch_size", AT(config.vision.patch), 1, MAX_PATCH, true},
    {VIT "pretrain_image_size", AT(pretrain), 1, CONFIG_MAX_IMAGE, true},
    {VIT "window_size", AT(config.vision.window), 1, MAX_WINDOW, false},
    {VIT "num_channels", AT(channels), 3, 3, false},
    {"vision_config.fpn_hidden_size", AT(config.dim), 1, MAX_WIDTH, false},
    STACK("text_config", "num_hidden_layers", text.stack),
    {"text_config.hidden_size", AT(config.text.dim), 1, MAX_WIDTH, false},
    {"text_config.vocab_size", AT(config.text.vocab), 1, MAX_VOCAB, false},
    {"text_config.max_position_embeddings", AT(config.text.positions), 2, MAX_POSITIONS, false},
    STACK("geometry_encoder_config", "num_layers", geometry),
    {"geometry_encoder_config.hidden_size", AT(geometry_dim), 1, MAX_WIDTH, false},
    {"geometry_encoder_config.roi_size", AT(config.roi), 1, MAX_ROI, false},
    STACK("detr_encoder_config", "num_layers", fusion),
    {"detr_encoder_config.hidden_size", AT(fusion_dim), 1, MAX_WIDTH, false},
    STACK("detr_decoder_config", "num_layers", decoder),
    {"detr_decoder_config.hidden_size", AT(decoder_dim), 1, MAX_WIDTH, false},
    {"detr_decoder_config.num_queries", AT(config.queries), 1, MAX_QUERIES, false},
    {"mask_decoder_config.num_attention_heads", AT(config.mask_heads), 1, MAX_WIDTH, false},
    {"mask_decoder_config.hidden_size", AT(mask_dim), 1, MAX_WIDTH, false},
    /* two of the stages run, one between each two levels of the neck; the weights of others are ignored */
    {"mask_decoder_config.num_upsampling_stages", AT(stages), 2, CONFIG_MAX_LAYERS, false},
};

static sam3_status read_number(const struct source *in, const struct number *number, struct draft *draft) {
  json_t *value, *single;
  TRY(find(in, number->key, &value));
  if (!value)
    return SAM3_OK;
  single = value;
  if (number->side && json_is_array(value)) {
    single = json_array_get(value, 0);
    if (json_array_size(value) != 2 || !json_equal(single, json_array_get(value, 1)))
      return bad(in, SAM3_ERR_UNSUPPORTED, number->key, value, "must be one number, or two equal ones");
  }
  if (!json_is_integer(single))
    return bad(in, SAM3_ERR_FORMAT, number->key, value, "must be an integer");
  json_int_t n = json_integer_value(single);
  if (n < number->least || n > number->most)
    return number->least == number->most
               ? bad(in, SAM3_ERR_UNSUPPORTED, number->key, value, "must be %d", number->least)
               : bad(in, n < number->least ? SAM3_ERR_FORMAT : SAM3_ERR_LIMIT, number->key, value, "must be %d to %d",
                     number->least, number->most);
  *(int *)((char *)draft + number->at) = (int)n;
  return SAM3_OK;
}

/* ------------------------------------------------------------------------------- other values */

/* The activation the network has there; `missing` is what a missing key means. */
static sam3_status check_activation(const struct source *in, const char *section, const char *want,
                                    const char *missing) {
  char key[80];
  json_t *parent, *value;
  snprintf(key, sizeof key, "%s.hidden_act", section);
  TRY(find(in, section, &parent));
  if (!parent)
    return SAM3_OK;
  TRY(find(in, key, &value));
  if (value && !json_is_string(value))
    return bad(in, SAM3_ERR_FORMAT, key, value, "must be a string");
  if (strcmp(value ? json_string_value(value) : missing, want))
    return bad(in, SAM3_ERR_UNSUPPORTED, key, value, "must be \"%s\", the only activation supported there", want);
  return SAM3_OK;
}

/* The neck's levels are fixed; the last one is not used. */
static sam3_status check_scale_factors(const struct source *in) {
  static const char key[] = "vision_config.scale_factors";
  static const double want[] = {4, 2, 1, 0.5};
  json_t *value;
  TRY(find(in, key, &value));
  if (!value)
    return SAM3_OK;
  bool same = json_array_size(value) == sizeof want / sizeof *want;
  for (size_t i = 0; same && i < sizeof want / sizeof *want; i++)
    same = json_number_value(json_array_get(value, i)) == want[i];
  return same ? SAM3_OK : bad(in, SAM3_ERR_UNSUPPORTED, key, value, "must be [4, 2, 1, 0.5]");
}

/* rope_parameters.rope_theta, or rope_theta beside it in files of older versions. */
static sam3_status read_rope(const struct source *in, float *theta) {
  static const char type_key[] = VIT "rope_parameters.rope_type";
  const char *key = VIT "rope_parameters.rope_theta";
  json_t *value, *type;
  TRY(find(in, type_key, &type));
  if (type && (!json_is_string(type) ||
               (strcmp(json_string_value(type), "axial") && strcmp(json_string_value(type), "default"))))
    return bad(in, SAM3_ERR_UNSUPPORTED, type_key, type, "must be \"axial\"");
  TRY(find(in, key, &value));
  if (!value) {
    key = VIT "rope_theta";
    TRY(find(in, key, &value));
  }
  if (!value)
    return SAM3_OK;
  if (!json_is_number(value))
    return bad(in, SAM3_ERR_FORMAT, key, value, "must be a number");
  double number = json_number_value(value);
  if (!(number >= 1e-6 && number <= 1e12))
    return bad(in, SAM3_ERR_LIMIT, key, value, "must be 1e-6 to 1e12");
  *theta = (float)number;
  return SAM3_OK;
}

/* An ascending list of layer numbers; missing or null: the published model's. */
static sam3_status read_global_layers(const struct source *in, struct config_vision *vision) {
  static const char key[] = VIT "global_attn_indexes";
  static const int published[] = {7, 15, 23, 31};
  json_t *value;
  TRY(find(in, key, &value));
  if (value && !json_is_array(value))
    return bad(in, SAM3_ERR_FORMAT, key, value, "must be a list of layer numbers");
  size_t n = value ? json_array_size(value) : sizeof published / sizeof *published;
  memset(vision->is_global, 0, sizeof vision->is_global);
  vision->last_global = n ? -1 : vision->stack.layers - 1; /* none: all layers count */
  for (size_t i = 0; i < n; i++) {
    json_t *item = json_array_get(value, i);
    if (value && !json_is_integer(item))
      return bad(in, SAM3_ERR_FORMAT, key, value, "must be a list of layer numbers");
    json_int_t layer = value ? json_integer_value(item) : published[i];
    if (layer <= vision->last_global || layer >= vision->stack.layers)
      return bad(in, SAM3_ERR_FORMAT, key, value, "must be ascending and within 0 to %d, num_hidden_layers - 1",
                 vision->stack.layers - 1);
    vision->is_global[layer] = true;
    vision->last_global = (int)layer;
  }
  return SAM3_OK;
}

/* ------------------------------------------------------------------------------------ relations */

/* `value` must be a multiple of `of`. */
static sam3_status check_multiple(const struct source *in, const char *key, int value, int of, const char *of_what) {
  if (value % of == 0)
    return SAM3_OK;
  return fail(in->err, SAM3_ERR_FORMAT, "%s: %s%s is %d: must be a multiple of %s, %d", in->file, in->prefix, key,
              value, of_what, of);
}

static sam3_status check_equal(const struct source *in, const char *key, int value, int want) {
  if (value == want)
    return SAM3_OK;
  return fail(in->err, SAM3_ERR_UNSUPPORTED, "%s: %s%s is %d: must equal vision_config.fpn_hidden_size, %d", in->file,
              in->prefix, key, value, want);
}

/* What is left at the right and bottom beside whole patches is not seen, as in a convolution. */
static sam3_status check_holds_patch(const struct source *in, const char *key, int side, int patch) {
  if (side >= patch)
    return SAM3_OK;
  return fail(in->err, SAM3_ERR_FORMAT, "%s: %s%s is %d: must not be less than patch_size, %d", in->file, in->prefix,
              key, side, patch);
}

static sam3_status check_relations(const struct source *in, const struct draft *draft) {
  const struct config *c = &draft->config;
  static const char heads[] = "num_attention_heads";
  TRY(check_holds_patch(in, VIT "image_size", c->vision.image, c->vision.patch));
  TRY(check_holds_patch(in, VIT "pretrain_image_size", draft->pretrain, c->vision.patch));
  TRY(check_multiple(in, VIT "hidden_size", c->vision.dim, c->vision.stack.heads, heads));
  TRY(check_multiple(in, VIT "hidden_size / num_attention_heads", c->vision.dim / c->vision.stack.heads, 4,
                     "a rotary pair in x and one in y"));
  TRY(check_multiple(in, "text_config.hidden_size", c->text.dim, c->text.stack.heads, heads));
  TRY(check_multiple(in, "vision_config.fpn_hidden_size", c->dim, CONFIG_NORM_GROUPS, "the group norm's groups"));
  TRY(check_equal(in, "geometry_encoder_config.hidden_size", draft->geometry_dim, c->dim));
  TRY(check_equal(in, "detr_encoder_config.hidden_size", draft->fusion_dim, c->dim));
  TRY(check_equal(in, "detr_decoder_config.hidden_size", draft->decoder_dim, c->dim));
  TRY(check_equal(in, "mask_decoder_config.hidden_size", draft->mask_dim, c->dim));
  TRY(check_multiple(in, "geometry_encoder_config.hidden_size", c->dim, c->geometry.heads, heads));
  TRY(check_multiple(in, "detr_encoder_config.hidden_size", c->dim, c->fusion.heads, heads));
  TRY(check_multiple(in, "detr_decoder_config.hidden_size", c->dim, c->decoder.heads, heads));
  TRY(check_multiple(in, "mask_decoder_config.hidden_size", c->dim, c->mask_heads, heads));
  return SAM3_OK;
}

/* ---------------------------------------------------------------------------------------- whole */

static sam3_status read_draft(const struct source *in, struct draft *draft) {
  struct config *c = &draft->config;
  json_t *text;
  TRY(find(in, "text_config", &text));
  if (text)
    c->text = clip_default;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    TRY(read_number(in, &numbers[i], draft));
  TRY(check_activation(in, "vision_config.backbone_config", "gelu", "gelu"));
  TRY(check_activation(in, "text_config", "gelu", "quick_gelu"));
  TRY(check_activation(in, "geometry_encoder_config", "relu", "relu"));
  TRY(check_activation(in, "detr_encoder_config", "relu", "relu"));
  TRY(check_activation(in, "detr_decoder_config", "relu", "relu"));
  TRY(check_scale_factors(in));
  TRY(read_rope(in, &c->vision.rope_theta));
  TRY(read_global_layers(in, &c->vision));
  TRY(check_relations(in, draft));
  c->vision.grid = c->vision.image / c->vision.patch;
  c->vision.table = draft->pretrain / c->vision.patch;
  c->text.context = c->text.positions < CONFIG_MAX_CONTEXT ? c->text.positions : CONFIG_MAX_CONTEXT;
  return SAM3_OK;
}

static sam3_status read_tree(json_t *root, const char *file, struct config *out, struct sam3_error *err) {
  struct source in = {.file = file, .prefix = "", .root = root, .err = err};
  struct draft draft = {.config = config_default(), .pretrain = 336};
  if (!json_is_object(root))
    return fail(err, SAM3_ERR_FORMAT, "%s: not a JSON object", file);
  json_t *type, *detector;
  TRY(find(&in, "model_type", &type));
  if (type && (!json_is_string(type) || strncmp(json_string_value(type), "sam3", 4)))
    return bad(&in, SAM3_ERR_UNSUPPORTED, "model_type", type, "must be \"sam3\" or \"sam3_video\"");
  TRY(find(&in, "detector_config", &detector));
  if (detector) {
    if (!json_is_object(detector))
      return bad(&in, SAM3_ERR_FORMAT, "detector_config", detector, "must be an object");
    in.root = detector;
    in.prefix = "detector_config.";
  }
  draft.geometry_dim = draft.fusion_dim = draft.decoder_dim = draft.mask_dim = draft.config.dim;
  TRY(read_draft(&in, &draft));
  *out = draft.config;
  return SAM3_OK;
}

sam3_status config_parse(const char *text, size_t size, const char *name, struct config *out, struct sam3_error *err) {
  json_t *root;
  TRY(json_parse(text, size, name, &root, err));
  sam3_status status = read_tree(root, name, out, err);
  json_decref(root);
  return status;
}

sam3_status config_read(const char *path, struct config *out, struct sam3_error *err) {
  json_t *root;
  TRY(json_parse_file(path, MAX_FILE, &root, err));
  sam3_status status = read_tree(root, path, out, err);
  json_decref(root);
  return status;
}

sam3_status config_of_checkpoint(const char *path, struct config *out, struct sam3_error *err) {
  static const char name[] = "config.json";
  struct stat st;
  const char *slash = strrchr(path, '/');
  bool is_directory = !stat(path, &st) && S_ISDIR(st.st_mode);
  size_t length = is_directory ? strlen(path) : slash ? (size_t)(slash - path) + 1 : 0;
  char *file = mem_alloc(length + sizeof "/" + sizeof name);
  if (!file)
    return fail_memory(err, length, "a path");
  snprintf(file, length + sizeof "/" + sizeof name, "%.*s%s%s", (int)length, path, is_directory ? "/" : "", name);
  sam3_status status = SAM3_OK;
  if (stat(file, &st) && errno == ENOENT)
    *out = config_default();
  else
    status = config_read(file, out, err);
  free(file);
  return status;
}
