/* sam3 info: what a model is, and the memory it will take. */
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/vocabulary.h"

static const char doc[] = "Prints what a model is (sizes, parameters, stored dtypes), the memory it takes on a device, "
                          "and what it knows where it says so (the demo model).\n"
                          "\v"
                          "Examples:\n"
                          "  sam3 info -m models/sam3 --dtype bf16\n"
                          "  sam3 info -m sam3.pt --tensors";

struct info {
  struct model_flags model;
  bool tensors, json;
};

enum { KEY_TENSORS = 256, KEY_JSON };

static error_t parse(int key, char *value, struct argp_state *state) {
  struct info *run = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &run->model;
    return 0;
  case KEY_TENSORS:
    run->tensors = true;
    return 0;
  case KEY_JSON:
    run->json = true;
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "unexpected argument %s (a model is named with -m)", value);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const char *text_of(json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "?";
}

static json_int_t count_of(json_t *object, const char *key) {
  return json_integer_value(json_object_get(object, key));
}

/* "key.key value" for every leaf. */
static void print_config(json_t *object, const char *prefix) {
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    char path[200];
    snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
    if (json_is_object(value)) {
      print_config(value, path);
      continue;
    }
    char *text = need(json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6)));
    printf("  %-26s %s\n", path, text);
    free(text);
  }
}

static void print_amount(const char *name, uint64_t bytes, const char *what) {
  char human[64];
  printf("  %-14s %10s %16llu B  %s\n", name, human_bytes(bytes, human), (unsigned long long)bytes, what);
}

static void print_memory(const struct sam3_memory *m) {
  puts("memory:");
  print_amount("weights", m->weights, "mapped from the file, shared between processes");
  print_amount("prepared", m->prepared, "weights in another form");
  print_amount("activations", m->activations, "the most that an image or a prompt has at a time");
  print_amount("workspace", m->workspace, "buffers of the device");
  print_amount("features", m->features, "an encoded image");
  print_amount("beyond weights", m->prepared + m->activations + m->workspace + m->features, "");
}

static json_t *memory_json(const struct sam3_memory *m) {
  return json_pack("{sI sI sI sI sI}", "weights", (json_int_t)m->weights, "prepared", (json_int_t)m->prepared,
                   "activations", (json_int_t)m->activations, "workspace", (json_int_t)m->workspace, "features",
                   (json_int_t)m->features);
}

static void print_tensors(json_t *tensors) {
  size_t i;
  json_t *tensor;
  json_array_foreach(tensors, i, tensor) {
    char *shape = need(json_dumps(json_object_get(tensor, "shape"), JSON_COMPACT));
    printf("%-6s %-22s %-10s %s%s\n", text_of(tensor, "dtype"), shape, text_of(tensor, "part"), text_of(tensor, "name"),
           json_is_false(json_object_get(tensor, "used")) ? " (unused)" : "");
    free(shape);
  }
}

static void print_info(json_t *model, const struct sam3_memory *memory) {
  size_t i;
  json_t *entry, *parts = json_object_get(model, "parts");
  json_int_t parameters = 0;
  json_array_foreach(parts, i, entry) parameters += count_of(entry, "parameters");

  printf("model: %s (%s), %.1f million parameters\n", text_of(model, "name"), text_of(model, "format"),
         (double)parameters * 1e-6);
  json_array_foreach(parts, i, entry)
      printf("  %-14s %13lld\n", text_of(entry, "name"), (long long)count_of(entry, "parameters"));
  puts("stored as:");
  json_array_foreach(json_object_get(model, "dtypes"), i, entry) {
    char what[64];
    snprintf(what, sizeof what, "in %lld tensors", (long long)count_of(entry, "tensors"));
    print_amount(text_of(entry, "name"), (uint64_t)count_of(entry, "bytes"), what);
  }
  puts("configuration:");
  print_config(json_object_get(model, "config"), "");
  print_memory(memory);
}

static int print(const struct info *run, const char *path, const sam3_model *model, const struct sam3_memory *memory) {
  json_t *description = need(json_loads(sam3_model_describe(model), 0, NULL)), *vocabulary = load_vocabulary(path);
  if (run->json) {
    if (!run->tensors)
      json_object_del(description, "tensors");
    json_object_set_new(description, "memory", memory_json(memory));
    if (vocabulary)
      json_object_set(description, "vocabulary", vocabulary);
    if (json_dumpf(description, stdout, JSON_INDENT(2)) == 0)
      puts("");
  } else if (run->tensors) {
    print_tensors(json_object_get(description, "tensors"));
  } else {
    print_info(description, memory);
    if (vocabulary)
      print_vocabulary(vocabulary);
  }
  json_decref(vocabulary);
  json_decref(description);
  return EXIT_DONE;
}

int info_main(int argc, char **argv) {
  static const struct argp_option options[] = {{"tensors", KEY_TENSORS, 0, 0, "list the tensors of the checkpoint", 0},
                                               {"json", KEY_JSON, 0, 0, "as JSON", 0},
                                               {0}};
  const struct argp_child children[] = {{&model_argp, 0, NULL, 0}, {&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
  struct info run = {0};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);

  sam3_model *model;
  char path[PATH_MAX];
  bool demo;
  int code = find_model(run.model.model, path, &demo);
  if (code != EXIT_DONE)
    return code;
  struct sam3_error err;
  if (sam3_model_open(path, &model, &err) != SAM3_OK)
    return failed(&err);
  sam3_session *session;
  code = open_session(model, &run.model, &session);
  if (code == EXIT_DONE) {
    struct sam3_memory memory = sam3_session_memory(session);
    code = print(&run, path, model, &memory);
    sam3_session_close(session);
  }
  sam3_model_close(model);
  return code;
}
