#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "model/config.h"

static sam3_status parse(const char *text, struct config *out, struct sam3_error *err) {
  return config_parse(text, strlen(text), "config.json", out, err);
}

static void assert_equal(const struct config *a, const struct config *b) {
#define SAME(field) assert_int_equal(a->field, b->field)
#define SAME_STACK(stack)                                                                                              \
  SAME(stack.layers);                                                                                                  \
  SAME(stack.heads);                                                                                                   \
  SAME(stack.mlp)
  SAME_STACK(vision.stack);
  SAME(vision.dim);
  SAME(vision.image);
  SAME(vision.patch);
  SAME(vision.grid);
  SAME(vision.table);
  SAME(vision.window);
  SAME(vision.last_global);
  assert_memory_equal(a->vision.is_global, b->vision.is_global, sizeof a->vision.is_global);
  assert_true(a->vision.rope_theta == b->vision.rope_theta);
  SAME_STACK(text.stack);
  SAME(text.dim);
  SAME(text.vocab);
  SAME(text.positions);
  SAME(text.context);
  SAME(dim);
  SAME_STACK(geometry);
  SAME(roi);
  SAME_STACK(fusion);
  SAME_STACK(decoder);
  SAME(queries);
  SAME(mask_heads);
}

/* tools/make_config_fixtures.py: what transformers saves. */
static struct config read_fixture(const char *name) {
  char path[600];
  struct config c;
  struct sam3_error err;
  snprintf(path, sizeof path, "%s/%s", CONFIGS, name);
  if (config_read(path, &c, &err) != SAM3_OK)
    fail_msg("%s", err.message);
  return c;
}

static void defaults_are_the_published_model(void **state) {
  (void)state;
  struct config published = read_fixture("published.json"), built_in = config_default(), empty;
  assert_equal(&published, &built_in);
  assert_int_equal(parse("{}", &empty, NULL), SAM3_OK);
  assert_equal(&empty, &built_in);
  assert_int_equal(parse("{\"vision_config\":{\"backbone_config\":{\"global_attn_indexes\":null}},"
                         "\"detector_config\":null,\"unknown\":[1]}",
                         &empty, NULL),
                   SAM3_OK);
  assert_equal(&empty, &built_in);
}

static void no_global_layer_and_a_rest_beside_the_patches(void **state) {
  (void)state;
  struct config c;
  assert_int_equal(
      parse("{\"vision_config\":{\"backbone_config\":{\"global_attn_indexes\":[],\"image_size\":1007}}}", &c, NULL),
      SAM3_OK);
  assert_int_equal(c.vision.last_global, 31);
  assert_false(c.vision.is_global[31]);
  assert_int_equal(c.vision.grid, 71);
}

static void reads_every_size(void **state) {
  (void)state;
  struct config expected = {
      .vision = {.stack = {.layers = 6, .heads = 5, .mlp = 72},
                 .dim = 40,
                 .image = 224,
                 .patch = 16,
                 .grid = 14,
                 .table = 6,
                 .window = 5,
                 .last_global = 4,
                 .rope_theta = 500},
      .text =
          {.stack = {.layers = 7, .heads = 9, .mlp = 52}, .dim = 36, .vocab = 50000, .positions = 77, .context = 32},
      .dim = 48,
      .geometry = {.layers = 2, .heads = 6, .mlp = 44},
      .roi = 3,
      .fusion = {.layers = 4, .heads = 2, .mlp = 28},
      .decoder = {.layers = 5, .heads = 12, .mlp = 20},
      .queries = 17,
      .mask_heads = 3,
  };
  expected.vision.is_global[1] = expected.vision.is_global[4] = true;
  struct config other = read_fixture("other.json"), hub = read_fixture("hub.json");
  assert_equal(&other, &expected);
  assert_equal(&hub, &expected);
}

static void reads_other_spellings(void **state) {
  (void)state;
  struct config c;
  assert_int_equal(parse("{\"vision_config\":{\"backbone_config\":{\"image_size\":[252,252],\"patch_size\":[7,7],"
                         "\"rope_theta\":7,\"rope_parameters\":{\"rope_theta\":9.5}}}}",
                         &c, NULL),
                   SAM3_OK);
  assert_int_equal(c.vision.image, 252);
  assert_int_equal(c.vision.patch, 7);
  assert_int_equal(c.vision.grid, 36);
  assert_int_equal(c.vision.table, 48);
  assert_true(c.vision.rope_theta == 9.5f);
  assert_int_equal(parse("{\"text_config\":{\"max_position_embeddings\":20,\"hidden_act\":\"gelu\"}}", &c, NULL),
                   SAM3_OK);
  assert_int_equal(c.text.context, 20);
  assert_int_equal(c.text.dim, 512); /* CLIP's own default, as in transformers */
  assert_int_equal(parse("{\"vision_config\":{\"scale_factors\":[4,2,1.0,0.5]}}", &c, NULL), SAM3_OK);
}

/* -------------------------------------------------------------------------------- bad contents */

#define VIT(rest) "{\"vision_config\":{\"backbone_config\":{" rest "}}}"
#define TEXT(rest) "{\"text_config\":{\"hidden_act\":\"gelu\"," rest "}}"
#define PART(name, rest) "{\"" name "\":{" rest "}}"

static const struct {
  const char *text;
  sam3_status status;
  const char *message;
} bad[] = {
    {"", SAM3_ERR_FORMAT, "config.json: not JSON"},
    {"{", SAM3_ERR_FORMAT, "not JSON"},
    {"[]", SAM3_ERR_FORMAT, "not a JSON object"},
    {"3", SAM3_ERR_FORMAT, "not JSON"},
    {"{} {}", SAM3_ERR_FORMAT, "not JSON"},
    {"{\"a\":1,\"a\":1}", SAM3_ERR_FORMAT, "duplicate"},
    {VIT("\"rope_theta\":NaN"), SAM3_ERR_FORMAT, "not JSON"},
    {VIT("\"rope_theta\":1e999"), SAM3_ERR_FORMAT, "not JSON"},
    {VIT("\"image_size\":99999999999999999999"), SAM3_ERR_FORMAT, "not JSON"},
    {"{\"model_type\":\"llama\"}", SAM3_ERR_UNSUPPORTED, "config.json: model_type is \"llama\""},
    {"{\"model_type\":3}", SAM3_ERR_UNSUPPORTED, "model_type is 3"},
    {"{\"model_type\":\"\\u001b[2J\"}", SAM3_ERR_UNSUPPORTED, "model_type is \"\\u001B[2J\""},
    {"{\"detector_config\":3}", SAM3_ERR_FORMAT, "detector_config is 3: must be an object"},
    {"{\"vision_config\":[]}", SAM3_ERR_FORMAT, "vision_config is []: must be an object"},
    {"{\"detector_config\":{\"vision_config\":{\"backbone_config\":7}}}", SAM3_ERR_FORMAT,
     "detector_config.vision_config.backbone_config is 7: must be an object"},
    {VIT("\"patch_size\":0"), SAM3_ERR_FORMAT, "vision_config.backbone_config.patch_size is 0: must be 1 to 512"},
    {VIT("\"patch_size\":-14"), SAM3_ERR_FORMAT, "patch_size is -14"},
    {VIT("\"patch_size\":513"), SAM3_ERR_LIMIT, "patch_size is 513: must be 1 to 512"},
    {VIT("\"patch_size\":14.0"), SAM3_ERR_FORMAT, "patch_size is 14.0: must be an integer"},
    {VIT("\"patch_size\":\"14\""), SAM3_ERR_FORMAT, "patch_size is \"14\": must be an integer"},
    {VIT("\"patch_size\":true"), SAM3_ERR_FORMAT, "patch_size is true: must be an integer"},
    {VIT("\"patch_size\":[14,15]"), SAM3_ERR_UNSUPPORTED, "patch_size is [14,15]: must be one number, or two equal"},
    {VIT("\"patch_size\":[14]"), SAM3_ERR_UNSUPPORTED, "must be one number"},
    {VIT("\"patch_size\":[]"), SAM3_ERR_UNSUPPORTED, "must be one number"},
    {VIT("\"patch_size\":[[14],[14]]"), SAM3_ERR_FORMAT, "must be an integer"},
    {VIT("\"image_size\":13"), SAM3_ERR_FORMAT, "image_size is 13: must not be less than patch_size, 14"},
    {VIT("\"image_size\":8204"), SAM3_ERR_LIMIT, "image_size is 8204"},
    {VIT("\"pretrain_image_size\":13"), SAM3_ERR_FORMAT, "pretrain_image_size is 13: must not be less than patch_size"},
    {VIT("\"window_size\":0"), SAM3_ERR_FORMAT, "window_size is 0"},
    {VIT("\"window_size\":[24,24]"), SAM3_ERR_FORMAT, "window_size is [24,24]: must be an integer"},
    {VIT("\"window_size\":4611686018427387905"), SAM3_ERR_LIMIT, "window_size is 4611686018427387905"},
    {VIT("\"num_channels\":4"), SAM3_ERR_UNSUPPORTED, "num_channels is 4: must be 3"},
    {VIT("\"num_hidden_layers\":513"), SAM3_ERR_LIMIT, "num_hidden_layers is 513"},
    {VIT("\"num_hidden_layers\":31"), SAM3_ERR_FORMAT,
     "global_attn_indexes is missing: must be ascending and within 0"},
    {VIT("\"num_attention_heads\":15"), SAM3_ERR_FORMAT,
     "hidden_size is 1024: must be a multiple of num_attention_heads"},
    {VIT("\"num_attention_heads\":512"), SAM3_ERR_FORMAT, "hidden_size / num_attention_heads is 2: must be a multiple"},
    {VIT("\"hidden_size\":16400"), SAM3_ERR_LIMIT, "hidden_size is 16400"},
    {VIT("\"intermediate_size\":65537"), SAM3_ERR_LIMIT, "intermediate_size is 65537"},
    {VIT("\"hidden_act\":\"quick_gelu\""), SAM3_ERR_UNSUPPORTED,
     "vision_config.backbone_config.hidden_act is \"quick_gelu\": must be \"gelu\""},
    {VIT("\"hidden_act\":1"), SAM3_ERR_FORMAT, "hidden_act is 1: must be a string"},
    {VIT("\"rope_theta\":0"), SAM3_ERR_LIMIT, "rope_theta is 0"},
    {VIT("\"rope_theta\":-1.5"), SAM3_ERR_LIMIT, "rope_theta is -1.5"},
    {VIT("\"rope_theta\":\"1e4\""), SAM3_ERR_FORMAT, "rope_theta is \"1e4\": must be a number"},
    {VIT("\"rope_parameters\":{\"rope_theta\":1e300}"), SAM3_ERR_LIMIT, "rope_parameters.rope_theta is 1"},
    {VIT("\"rope_parameters\":{\"rope_type\":\"yarn\"}"), SAM3_ERR_UNSUPPORTED, "rope_type is \"yarn\""},
    {VIT("\"rope_parameters\":5"), SAM3_ERR_FORMAT, "rope_parameters is 5: must be an object"},
    {VIT("\"global_attn_indexes\":7"), SAM3_ERR_FORMAT, "global_attn_indexes is 7: must be a list"},
    {VIT("\"global_attn_indexes\":[7,\"8\"]"), SAM3_ERR_FORMAT, "must be a list of layer numbers"},
    {VIT("\"global_attn_indexes\":[7,7]"), SAM3_ERR_FORMAT, "must be ascending"},
    {VIT("\"global_attn_indexes\":[-1]"), SAM3_ERR_FORMAT, "must be ascending and within 0 to 31"},
    {VIT("\"global_attn_indexes\":[32]"), SAM3_ERR_FORMAT, "must be ascending and within 0 to 31"},
    {"{\"vision_config\":{\"scale_factors\":[4,2,1]}}", SAM3_ERR_UNSUPPORTED, "scale_factors is [4,2,1]: must be [4"},
    {"{\"vision_config\":{\"scale_factors\":[4,2,1,2]}}", SAM3_ERR_UNSUPPORTED, "scale_factors"},
    {"{\"vision_config\":{\"scale_factors\":4}}", SAM3_ERR_UNSUPPORTED, "scale_factors is 4"},
    {"{\"vision_config\":{\"fpn_hidden_size\":252}}", SAM3_ERR_FORMAT, "fpn_hidden_size is 252: must be a multiple of"},
    {"{\"vision_config\":{\"fpn_hidden_size\":128}}", SAM3_ERR_UNSUPPORTED,
     "geometry_encoder_config.hidden_size is 256: must equal vision_config.fpn_hidden_size, 128"},
    {PART("detr_encoder_config", "\"hidden_size\":128"), SAM3_ERR_UNSUPPORTED,
     "detr_encoder_config.hidden_size is 128"},
    {PART("detr_decoder_config", "\"hidden_size\":128"), SAM3_ERR_UNSUPPORTED,
     "detr_decoder_config.hidden_size is 128"},
    {PART("mask_decoder_config", "\"hidden_size\":128"), SAM3_ERR_UNSUPPORTED,
     "mask_decoder_config.hidden_size is 128"},
    {PART("geometry_encoder_config", "\"num_attention_heads\":7"), SAM3_ERR_FORMAT,
     "geometry_encoder_config.hidden_size"},
    {PART("detr_encoder_config", "\"num_attention_heads\":7"), SAM3_ERR_FORMAT, "detr_encoder_config.hidden_size"},
    {PART("detr_decoder_config", "\"num_attention_heads\":7"), SAM3_ERR_FORMAT, "detr_decoder_config.hidden_size"},
    {PART("mask_decoder_config", "\"num_attention_heads\":7"), SAM3_ERR_FORMAT, "mask_decoder_config.hidden_size"},
    {PART("geometry_encoder_config", "\"hidden_act\":\"gelu\""), SAM3_ERR_UNSUPPORTED, "must be \"relu\""},
    {PART("detr_encoder_config", "\"hidden_act\":\"silu\""), SAM3_ERR_UNSUPPORTED, "must be \"relu\""},
    {PART("detr_decoder_config", "\"hidden_act\":\"silu\""), SAM3_ERR_UNSUPPORTED, "must be \"relu\""},
    {PART("geometry_encoder_config", "\"roi_size\":65"), SAM3_ERR_LIMIT, "roi_size is 65"},
    {PART("detr_decoder_config", "\"num_queries\":10001"), SAM3_ERR_LIMIT, "num_queries is 10001"},
    {PART("detr_decoder_config", "\"num_queries\":0"), SAM3_ERR_FORMAT, "num_queries is 0"},
    {PART("mask_decoder_config", "\"num_upsampling_stages\":1"), SAM3_ERR_FORMAT, "num_upsampling_stages is 1"},
    {PART("text_config", "\"hidden_size\":512"), SAM3_ERR_UNSUPPORTED,
     "text_config.hidden_act is missing: must be \"gelu\""},
    {TEXT("\"vocab_size\":0"), SAM3_ERR_FORMAT, "text_config.vocab_size is 0"},
    {TEXT("\"max_position_embeddings\":1"), SAM3_ERR_FORMAT, "max_position_embeddings is 1"},
    {TEXT("\"num_attention_heads\":7"), SAM3_ERR_FORMAT, "text_config.hidden_size is 512: must be a multiple of"},
};

static void refuses_bad_values(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct config c;
    struct sam3_error err = {0};
    sam3_status status = parse(bad[i].text, &c, &err);
    if (status != bad[i].status || !strstr(err.message, bad[i].message))
      fail_msg("%s: expected %s with '%s'; got %s: %s", bad[i].text, sam3_status_name(bad[i].status), bad[i].message,
               sam3_status_name(status), err.message);
  }
}

static void refuses_deep_and_long_text(void **state) {
  (void)state;
  struct config c;
  struct sam3_error err = {0};
  size_t size = 200000;
  char *deep = malloc(size + 1);
  assert_non_null(deep);
  memset(deep, '[', size);
  deep[size] = '\0';
  assert_int_equal(parse(deep, &c, &err), SAM3_ERR_FORMAT);
  assert_non_null(strstr(err.message, "depth"));
  memset(deep, '9', size); /* a long value is shown cut */
  memcpy(deep, "{\"model_type\":\"", 15);
  memcpy(deep + size - 2, "\"}", 2);
  assert_int_equal(parse(deep, &c, &err), SAM3_ERR_UNSUPPORTED);
  assert_non_null(strstr(err.message, "model_type is \"...: must be"));
  free(deep);
  assert_int_equal(config_read("/dev/zero", &c, &err), SAM3_ERR_LIMIT);
  assert_int_equal(config_read("/nowhere/config.json", &c, &err), SAM3_ERR_IO);
  assert_non_null(strstr(err.message, "/nowhere/config.json: cannot open"));
}

/* Every prefix of a good file is an error, never a model. */
static void refuses_every_truncation(void **state) {
  (void)state;
  static const char text[] = TEXT("\"vocab_size\":5");
  struct config c;
  struct sam3_error err;
  for (size_t size = 0; size + 1 < sizeof text; size++)
    assert_int_equal(config_parse(text, size, "config.json", &c, &err), SAM3_ERR_FORMAT);
  assert_int_equal(config_parse(text, sizeof text - 1, "config.json", &c, &err), SAM3_OK);
}

/* -------------------------------------------------------------------------------------- places */

static void write_text(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void finds_the_file_of_a_checkpoint(void **state) {
  (void)state;
  char directory[] = "/tmp/sam3-test-XXXXXX", config[100], model[100];
  struct config c, expected = config_default();
  struct sam3_error err;
  assert_non_null(mkdtemp(directory));
  snprintf(config, sizeof config, "%s/config.json", directory);
  snprintf(model, sizeof model, "%s/sam3.pt", directory);
  assert_int_equal(config_of_checkpoint(directory, &c, &err), SAM3_OK);
  assert_equal(&c, &expected);
  assert_int_equal(config_of_checkpoint(model, &c, &err), SAM3_OK);
  assert_equal(&c, &expected);
  write_text(config, PART("detr_decoder_config", "\"num_queries\":7"));
  const char *const paths[] = {directory, model};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(config_of_checkpoint(paths[i], &c, &err), SAM3_OK);
    assert_int_equal(c.queries, 7);
  }
  write_text(config, PART("detr_decoder_config", "\"num_queries\":-7"));
  for (int i = 0; i < 2; i++) {
    assert_int_equal(config_of_checkpoint(paths[i], &c, &err), SAM3_ERR_FORMAT);
    assert_non_null(strstr(err.message, config));
  }
  unlink(config);
  rmdir(directory);
}

static void survives_failing_allocations(void **state) {
  (void)state;
  char path[600];
  sam3_status status = SAM3_ERR_MEMORY;
  size_t n = 0;
  snprintf(path, sizeof path, "%s/published.json", CONFIGS);
  while (status == SAM3_ERR_MEMORY) {
    struct config c;
    struct sam3_error err = {0};
    mem_fail_at(++n, false);
    status = config_read(path, &c, &err);
    mem_fail_at(0, false);
    assert_int_equal(err.status, status);
  }
  assert_int_equal(status, SAM3_OK);
  assert_true(n > 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_the_published_model),
      cmocka_unit_test(no_global_layer_and_a_rest_beside_the_patches),
      cmocka_unit_test(reads_every_size),
      cmocka_unit_test(reads_other_spellings),
      cmocka_unit_test(refuses_bad_values),
      cmocka_unit_test(refuses_deep_and_long_text),
      cmocka_unit_test(refuses_every_truncation),
      cmocka_unit_test(finds_the_file_of_a_checkpoint),
      cmocka_unit_test(survives_failing_allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
