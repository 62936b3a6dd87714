/* sam3 devices: what there is to compute on. */
#include <jansson.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] = "Lists what there is to compute on, and which kernels are used there.";

enum { KEY_JSON = 256 };

static error_t parse(int key, char *value, struct argp_state *state) {
  if (key == KEY_JSON)
    *(bool *)state->input = true;
  else if (key == ARGP_KEY_ARG)
    argp_error(state, "unexpected argument %s", value);
  else
    return ARGP_ERR_UNKNOWN;
  return 0;
}

static const char *text_of(json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "?";
}

static void print_device(json_t *device) {
  char total[64], available[64];
  size_t i;
  json_t *item;
  printf("%s: %s\n  cores       ", text_of(device, "device"), text_of(device, "name"));
  json_array_foreach(json_object_get(device, "cores"), i, item)
      printf("%s%lld", i ? "," : "", (long long)json_integer_value(item));
  printf("\n  kernels     %s\n  instructions", text_of(device, "kernels"));
  json_array_foreach(json_object_get(device, "instructions"), i, item) printf(" %s", json_string_value(item));
  uint64_t bytes = (uint64_t)json_integer_value(json_object_get(device, "memory"));
  uint64_t left = (uint64_t)json_integer_value(json_object_get(device, "memory_available"));
  printf("\n  memory       %s, %s available\n", human_bytes(bytes, total), human_bytes(left, available));
}

int devices_main(int argc, char **argv) {
  static const struct argp_option options[] = {{"json", KEY_JSON, 0, 0, "as JSON", 0}, {0}};
  const struct argp_child children[] = {{&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
  bool as_json = false;
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &as_json);

  struct sam3_error err;
  char *text;
  if (sam3_devices_describe(&text, &err) != SAM3_OK)
    return failed(&err);
  if (as_json) {
    puts(text);
  } else {
    json_t *root = need(json_loads(text, 0, NULL)), *device;
    size_t i;
    json_array_foreach(json_object_get(root, "devices"), i, device) print_device(device);
    json_decref(root);
  }
  free(text);
  return EXIT_DONE;
}
