/* sam3 bench: how long each stage of the network takes, beside what the device can do. */
#include <jansson.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] = "Times every stage of the network: medians over the runs, after one that does not count.\n"
                          "\v"
                          "A stage's share is its GFLOP/s over what the device reaches in a loop of multiply-adds.\n"
                          "\n"
                          "Examples:\n"
                          "  sam3 bench -m models/sam3\n"
                          "  sam3 bench --random-weights config.json --dtype bf16 --json";

#define MAX_RUNS 100

struct bench {
  struct model_flags model;
  const char *config, *image, *text;
  int runs;
  bool json;
};

enum { KEY_RANDOM = 256, KEY_IMAGE, KEY_JSON };

static error_t parse(int key, char *value, struct argp_state *state) {
  struct bench *run = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &run->model;
    return 0;
  case KEY_RANDOM:
    run->config = value;
    return 0;
  case KEY_IMAGE:
    run->image = value;
    return 0;
  case 'p':
    run->text = value;
    return 0;
  case 'n':
    run->runs = (int)parse_count(state, "--runs", value, 1, MAX_RUNS);
    return 0;
  case KEY_JSON:
    run->json = true;
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "unexpected argument %s", value);
    return 0;
  case ARGP_KEY_END:
    if (run->config && run->model.model)
      argp_error(state, "--random-weights and --model exclude one another");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static double number_of(json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

static void print_table(json_t *report) {
  printf("%s, %d threads, %s, peak %.0f GFLOP/s\n\n", json_string_value(json_object_get(report, "device")),
         (int)number_of(report, "threads"), json_string_value(json_object_get(report, "dtype")),
         number_of(report, "peak_gflops"));
  printf("%-16s %10s %12s %10s %7s\n", "stage", "ms", "GFLOP", "GFLOP/s", "share");
  size_t i;
  json_t *stage;
  json_array_foreach(json_object_get(report, "stages"), i, stage) printf(
      "%-16s %10.1f %12.2f %10.1f %5.0f %%\n", json_string_value(json_object_get(stage, "name")),
      number_of(stage, "ms"), number_of(stage, "gflop"), number_of(stage, "gflops"), number_of(stage, "share") * 100);
  printf("\n%-26s %10.1f ms\n", "encode an image", number_of(report, "encode_ms"));
  printf("%-26s %10.1f ms\n", "first prompt", number_of(report, "first_prompt_ms"));
  printf("%-26s %10.1f ms\n", "each further prompt", number_of(report, "further_prompt_ms"));
  char text[64];
  json_t *memory = json_object_get(report, "memory");
  printf("%-26s %13s\n", "weights", human_bytes((uint64_t)number_of(memory, "weights"), text));
  printf("%-26s %13s\n", "memory beyond the weights", human_bytes((uint64_t)number_of(memory, "beyond_weights"), text));
  printf("%-26s %13s\n", "peak resident", human_bytes((uint64_t)number_of(memory, "peak_resident"), text));
}

/* The largest resident set since the program began, in bytes; getrusage() would count the parent's before exec. */
static json_int_t peak_resident(void) {
  char line[128];
  long long kilobytes = 0;
  FILE *status = fopen("/proc/self/status", "r");
  if (!status)
    return 0;
  while (fgets(line, sizeof line, status) && sscanf(line, "VmHWM: %lld kB", &kilobytes) != 1)
    ;
  fclose(status);
  return kilobytes * 1024;
}

static json_t *memory_json(const sam3_session *session) {
  struct sam3_memory m = sam3_session_memory(session);
  return json_pack("{sI sI sI}", "weights", (json_int_t)m.weights, "beyond_weights",
                   (json_int_t)(m.prepared + m.activations + m.workspace + m.features), "peak_resident",
                   peak_resident());
}

static int bench_session(const struct bench *run, sam3_session *session) {
  struct sam3_error err;
  sam3_image *image = NULL;
  if (run->image && sam3_image_read(run->image, 0, &image, &err) != SAM3_OK)
    return failed(&err);
  struct sam3_bench_options options = {.image = image, .text = run->text, .runs = run->runs};
  char *text;
  sam3_status status = sam3_bench(session, &options, &text, &err);
  sam3_image_free(image);
  if (status != SAM3_OK)
    return failed(&err);

  json_t *report = need(json_loads(text, 0, NULL));
  json_object_set_new(report, "memory", memory_json(session));
  if (!run->json)
    print_table(report);
  else if (json_dumpf(report, stdout, JSON_INDENT(2)) == 0)
    puts("");
  json_decref(report);
  free(text);
  return EXIT_DONE;
}

static int open_any_model(const struct bench *run, sam3_model **model) {
  struct sam3_error err;
  if (!run->config)
    return open_model(run->model.model, model);
  return sam3_model_random(run->config, 1, model, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}

int bench_main(int argc, char **argv) {
  static const struct argp_option options[] = {
      {"random-weights", KEY_RANDOM, "CONFIG", 0, "a model of this config.json with random weights", 0},
      {"image", KEY_IMAGE, "FILE", 0, "the image (default: noise of the model's own size)", 0},
      {"prompt", 'p', "TEXT", 0, "the prompt (default: dog)", 0},
      {"runs", 'n', "N", 0, "how many runs (default 3)", 0},
      {"json", KEY_JSON, 0, 0, "as JSON", 0},
      {0}};
  const struct argp_child children[] = {{&model_argp, 0, NULL, 0}, {&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
  struct bench run = {0};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);

  sam3_model *model;
  int code = open_any_model(&run, &model);
  if (code != EXIT_DONE)
    return code;
  sam3_session *session;
  code = open_session(model, &run.model, &session);
  if (code == EXIT_DONE) {
    code = bench_session(&run, session);
    sam3_session_close(session);
  }
  sam3_model_close(model);
  return code;
}
