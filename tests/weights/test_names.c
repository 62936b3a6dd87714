/* The table of names: one network in every spelling, byte for byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

/* A line of names.txt: what the image model needs. */
struct tensor {
  char name[200];
  int rank;
  int64_t dims[TENSOR_MAX_RANK];
  size_t count;
};

static struct tensor tensors[400];
static size_t n_tensors;

static int read_names(void **state) {
  (void)state;
  char line[300];
  FILE *file = fopen(fixture_path("names.txt"), "r");
  assert_non_null(file);
  while (fgets(line, sizeof line, file)) {
    struct tensor *t = &tensors[n_tensors++];
    assert_true(n_tensors < sizeof tensors / sizeof *tensors);
    snprintf(t->name, sizeof t->name, "%s", strtok(line, " \n"));
    t->count = 1;
    for (char *word; (word = strtok(NULL, " \n")); t->rank++)
      t->count *= (size_t)(t->dims[t->rank] = atoll(word));
  }
  fclose(file);
  assert_true(n_tensors > 200);
  make_directory();
  return 0;
}

static int clean_up(void **state) {
  (void)state;
  remove_directory();
  return 0;
}

/* Every tensor has its values, and nothing else is asked about afterwards. */
static void expect_all(struct weights *w) {
  struct sam3_error err = {0};
  for (size_t i = 0; i < n_tensors; i++) {
    const struct tensor *t = &tensors[i];
    struct tensor_view view;
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    if (weights_get(w, t->name, t->rank, t->dims, &view, &err) != SAM3_OK)
      fail_msg("%s", err.message);
    assert_int_equal(view.dtype, SAM3_F32);
    for (size_t k = 0; k < t->count; k++)
      if (((const float *)view.data)[k] != value_of(t->name, k))
        fail_msg("%s: element %zu differs", t->name, k);
    assert_int_equal(weights_shape(w, t->name, &rank, dims, &err), SAM3_OK);
    assert_int_equal(rank, t->rank);
    assert_memory_equal(dims, t->dims, (size_t)rank * sizeof *dims);
  }
  if (weights_check_all_used(w, &err) != SAM3_OK)
    fail_msg("%s", err.message);
}

/* The network as safetensors: "text_encoder.text_model." becomes `text`, every name gets the prefix; `extra` is the
 * name of one more tensor, of one byte. */
static struct bytes network(const char *prefix, const char *text, const char *extra) {
  static const char long_text[] = "text_encoder.text_model.";
  struct bytes header = {0}, data = {0};
  put(&header, "{", 1);
  for (size_t i = 0; i < n_tensors; i++) {
    char entry[500], shape[100] = "";
    const struct tensor *t = &tensors[i];
    bool is_text = !strncmp(t->name, long_text, sizeof long_text - 1);
    for (int d = 0, at = 0; d < t->rank; d++)
      at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%d", d ? "," : "", (int)t->dims[d]);
    int n = snprintf(entry, sizeof entry, "\"%s%s%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]},\n",
                     prefix, is_text ? text : "", t->name + (is_text ? sizeof long_text - 1 : 0), shape, data.size,
                     data.size + 4 * t->count);
    put(&header, entry, (size_t)n);
    for (size_t k = 0; k < t->count; k++)
      put(&data, &(float){value_of(t->name, k)}, 4);
  }
  char entry[400];
  int n = snprintf(entry, sizeof entry, "\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}}", extra,
                   data.size, data.size + 1);
  put(&header, entry, (size_t)n);
  while (header.size % 8)
    put(&header, " ", 1);
  struct bytes file = {0};
  put_number(&file, header.size, 8);
  put(&file, header.data, header.size);
  put(&file, data.data, data.size);
  put_number(&file, 0, 1);
  bytes_free(&header);
  bytes_free(&data);
  return file;
}

static void finds_all_names(void **state) {
  (void)state;
  static const struct {
    const char *prefix, *text, *extra;
  } layouts[] = {
      {"", "text_encoder.text_model.", "text_encoder.text_model.embeddings.position_ids"},
      {"", "text_encoder.", "text_encoder.embeddings.position_ids"},
      {"detector_model.", "text_encoder.text_model.", "tracker_neck.fpn_layers.0.proj1.bias"},
      {"detector_model.", "text_encoder.", "tracker_model.no_memory_embedding"},
  };
  for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
    struct weights *w = open_bytes(network(layouts[i].prefix, layouts[i].text, layouts[i].extra));
    expect_all(w);
    weights_close(w);
  }
}

/* official.pt is what torch wrote of Meta's names, which tools/reference knows from elsewhere. */
static void finds_all_official_names(void **state) {
  (void)state;
  struct weights *w = open_path(fixture_path("official.pt"));
  assert_null(weights_directory(w));
  expect_all(w);
  weights_close(w);

  struct bytes bytes = read_fixture("official.pt");
  write_file("sam3.pt", bytes.data, bytes.size);
  w = open_path(in_directory(""));
  assert_string_equal(weights_directory(w), in_directory(""));
  expect_all(w);
  weights_close(w);
  remove_file("sam3.pt");

  bytes_free(&bytes);
}

/* Without "detector.", and not under "model". */
static void finds_bare_official_names(void **state) {
  (void)state;
  static const char begin[] = "vision_encoder.backbone.layers.0.attention.";
  struct weights *w = open_path(fixture_path("flat.pt"));
  struct sam3_error err = {0};
  size_t found = 0;
  for (size_t i = 0; i < n_tensors; i++) {
    const struct tensor *t = &tensors[i];
    struct tensor_view view;
    if (strncmp(t->name, begin, sizeof begin - 1))
      continue;
    if (weights_get(w, t->name, t->rank, t->dims, &view, &err) != SAM3_OK)
      fail_msg("%s", err.message);
    for (size_t k = 0; k < t->count; k++)
      assert_true(((const float *)view.data)[k] == value_of(t->name, k));
    found++;
  }
  assert_int_equal(found, 8);
  assert_int_equal(weights_check_all_used(w, &err), SAM3_OK); /* freqs_cis is known */
  weights_close(w);
}

static void tells_parts(void **state) {
  (void)state;
  static const struct {
    const char *begin, *part;
  } parts[] = {{"vision_encoder.backbone.", "vision"}, {"vision_encoder.neck.", "neck"}, {"text_", "text"},
               {"geometry_encoder.", "geometry"},      {"detr_encoder.", "fusion"},      {"detr_decoder.", "decoder"},
               {"dot_product_scoring.", "scoring"},    {"mask_decoder.", "mask head"}};
  uint64_t plain[9] = {0}, official[9] = {0};
  struct weights *w = open_bytes(network("", "text_encoder.", "tracker_model.x"));
  for (size_t i = 0; i < weights_count(w); i++) {
    struct tensor_info info = weights_info(w, i);
    size_t p = 0;
    while (p < 8 && strncmp(info.name, parts[p].begin, strlen(parts[p].begin)))
      p++;
    assert_string_equal(info.part, p < 8 ? parts[p].part : "other");
    plain[p] += info.bytes;
  }
  weights_close(w);
  w = open_path(fixture_path("official.pt"));
  expect_all(w);
  for (size_t i = 0; i < weights_count(w); i++) {
    struct tensor_info info = weights_info(w, i);
    size_t p = 0;
    while (p < 8 && strcmp(info.part, parts[p].part))
      p++;
    official[p] += info.used ? info.bytes : 0;
  }
  weights_close(w);
  official[0] -= 4 * 4; /* the class row */
  plain[8] = 0;
  assert_memory_equal(plain, official, sizeof plain);
}

static void names_tensors_it_does_not_know(void **state) {
  (void)state;
  static const struct {
    const char *prefix, *extra;
    bool known;
  } cases[] = {
      {"", "vision_encoder.backbone.layers.2.mlp.fc1.weight", false}, /* a layer more than asked for */
      {"", "vision_encoder.adapter.weight", false},
      {"", "lm_head.weight", false},
      {"", "vision_encoder.backbone.layers.00.mlp.fc1.weight", false},
      {"", "vision_encoder.backbone.layers.99999.mlp.fc1.weight", false},
      {"", "detr_decoder.box_head.layer0.weight", false},
      {"", "geometry_encoder.points_pool_project.weight", true},
      {"", "vision_encoder.neck.fpn_layers.3.proj1.weight", true},
      {"", "mask_decoder.pixel_decoder.conv_layers.2.weight", true},
      {"", "mask_decoder.semantic_projection.bias", true},
      {"", "text_encoder.text_projection.weight", true},
      {"detector_model.", "detector_model.adapter.weight", false},
      {"detector_model.", "something.else", true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct weights *w = open_bytes(network(cases[i].prefix, "text_encoder.text_model.", cases[i].extra));
    struct sam3_error err = {0};
    assert_int_equal(weights_check_all_used(w, NULL), SAM3_ERR_FORMAT); /* nothing has been asked for yet */
    for (size_t k = 0; k < n_tensors; k++) {
      struct tensor_view view;
      assert_int_equal(weights_get(w, tensors[k].name, tensors[k].rank, tensors[k].dims, &view, NULL), SAM3_OK);
    }
    sam3_status status = weights_check_all_used(w, &err);
    if (cases[i].known != (status == SAM3_OK) || (!cases[i].known && !strstr(err.message, cases[i].extra)))
      fail_msg("%s: %s %s", cases[i].extra, sam3_status_name(status), err.message);
    weights_close(w);
  }
}

/* Fused tensors that are not three of a kind, and a position table without a class row. */
static void checks_official_shapes(void **state) {
  (void)state;
  struct weights *w = open_bytes(safetensors("{\"detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight\":"
                                             "{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
                                             "\"detector.backbone.vision_backbone.trunk.blocks.1.attn.qkv.bias\":"
                                             "{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[16,20]},"
                                             "\"detector.backbone.vision_backbone.trunk.pos_embed\":"
                                             "{\"dtype\":\"F32\",\"shape\":[2,1,1],\"data_offsets\":[20,28]}}",
                                             28));
  static const struct {
    const char *name, *message;
    int rank;
  } cases[] = {
      {"vision_encoder.backbone.layers.0.attention.q_proj.weight", "has shape [4]; it should hold three", 1},
      {"vision_encoder.backbone.layers.1.attention.k_proj.bias", "has shape []; it should hold three", 0},
      {"vision_encoder.backbone.embeddings.position_embeddings", "has shape [2, 1, 1]; it should be [1, 1 +", 3},
      {"vision_encoder.backbone.layers.2.attention.k_proj.bias",
       "'detector.backbone.vision_backbone.trunk.blocks.2.attn.qkv.bias' is missing", 1},
      {"vision_encoder.backbone.layers.0.attention.x_proj.bias",
       "'vision_encoder.backbone.layers.0.attention.x_proj.bias' is missing", 1},
      {"no.such.name", "'no.such.name' is missing", 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tensor_view view;
    struct sam3_error err = {0};
    assert_int_equal(weights_get(w, cases[i].name, cases[i].rank, (int64_t[]){1, 1, 1}, &view, &err), SAM3_ERR_FORMAT);
    if (!strstr(err.message, cases[i].message))
      fail_msg("expected '%s', got: %s", cases[i].message, err.message);
  }
  weights_close(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_all_names),
      cmocka_unit_test(finds_all_official_names),
      cmocka_unit_test(finds_bare_official_names),
      cmocka_unit_test(tells_parts),
      cmocka_unit_test(names_tensors_it_does_not_know),
      cmocka_unit_test(checks_official_shapes),
  };
  return cmocka_run_group_tests(tests, read_names, clean_up);
}
