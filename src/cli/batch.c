/* sam3 batch: whole folders of images through all devices, resumable. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/batch.h"
#include "cli/coco.h"

enum {
  KEY_LIST = 256,
  KEY_FORMAT,
  KEY_OVERLAY,
  KEY_MASKS,
  KEY_KEEP_ENDING,
  KEY_WORKERS,
  KEY_RETRY,
  KEY_RESTART,
  KEY_MAX_PIXELS
};

static const struct argp_option flags[] = {
    {"list", KEY_LIST, "FILE", 0, "more inputs, one a line; - is standard input (the same as @FILE)", 0},
    {0, 0, 0, 0, "Where results go:", 2},
    {"output", 'o', "OUT", 0, "a folder; files in it are named as the images", 0},
    {"format", KEY_FORMAT, "FORMAT", 0, "json (default), coco (one dataset, OUT/coco.json), yolo, labelme or polygons",
     0},
    {"overlay", KEY_OVERLAY, "KIND", OPTION_ARG_OPTIONAL,
     "also each image with its masks drawn on it: png (default) or jpg", 0},
    {"masks", KEY_MASKS, 0, 0, "also a PNG for each mask: NAME-PROMPT-DETECTION.png", 0},
    {"keep-ending", KEY_KEEP_ENDING, 0, 0, "a.jpg.json, not a.json", 0},
    {0, 0, 0, 0, "Going on (the same command goes on where it stopped):", 3},
    {"retry-failed", KEY_RETRY, 0, 0, "try failed images again", 0},
    {"restart", KEY_RESTART, 0, 0, "begin anew", 0},
    {0, 0, 0, 0, "Else:", 20},
    {"workers", KEY_WORKERS, "N", 0, "images in hand at a time (default: the devices and one more)", 0},
    {"max-pixels", KEY_MAX_PIXELS, "N", 0, "refuse larger images (default 100 million)", 0},
    {"quiet", 'q', 0, 0, "only errors on standard error", 0},
    {0}};

static const char doc[] =
    "Finds every instance of each prompt in all images of folders, lists and patterns.\n"
    "\v"
    "An INPUT is a folder (its .jpg, .jpeg, .png and .webp files, at any depth, but for hidden ones), an image, a "
    "pattern in quotes, or @LIST, a file that names some, one a line. The tree of results mirrors that of the images.\n"
    "\n"
    "OUT/.sam3-batch.db keeps what has been done: the same command goes on where it stopped, whatever stopped it, and "
    "also does images that are new or have changed. Every file appears whole or not at all.\n"
    "\n"
    "Examples:\n"
    "  sam3 batch photos -p \"red car\" -o results\n"
    "  sam3 batch photos -p person --format yolo -o labels -d cpu:0,cpu:1\n"
    "  sam3 batch 'photos/2024-*/*.jpg' @more.txt -p dog --format coco -o dogs\n"
    "\n"
    "Exit status: 0 done, 1 failed (a table says which images), 2 wrong usage.";

static void add_argument(struct batch *run, char *value) {
  run->arguments = grow(run->arguments, run->n_arguments, sizeof *run->arguments);
  run->arguments[run->n_arguments++] = value;
}

static void check_usage(struct batch *run, struct argp_state *state) {
  size_t readers = run->prompts.file && strcmp(run->prompts.file, "-") == 0;
  if (!run->n_arguments)
    argp_error(state, "no INPUT given");
  prompts_require(&run->prompts, state);
  if (!run->tree.root)
    argp_error(state, "no place for the results: give -o OUT");
  for (size_t i = 0; i < run->n_arguments; i++)
    readers += strcmp(run->arguments[i], "@-") == 0;
  if (readers > 1)
    argp_error(state, "standard input can be read only once");
}

static error_t parse(int key, char *value, struct argp_state *state) {
  struct batch *run = state->input;
  char *list = NULL;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &run->prompts;
    state->child_inputs[1] = &run->model;
    state->child_inputs[2] = &run->engine_flags;
    return 0;
  case KEY_LIST:
    need(asprintf(&list, "@%s", value) < 0 ? NULL : list);
    add_argument(run, list);
    return 0;
  case 'o':
    run->tree.root = value;
    return 0;
  case KEY_FORMAT:
    run->tree.format = parse_format(state, "--format", value);
    return 0;
  case KEY_OVERLAY:
    run->tree.overlay = value ? value : "png";
    if (strcmp(run->tree.overlay, "png") != 0 && strcmp(run->tree.overlay, "jpg") != 0)
      argp_error(state, "--overlay=%s: neither png nor jpg", value);
    return 0;
  case KEY_MASKS:
    run->tree.masks = true;
    return 0;
  case KEY_KEEP_ENDING:
    run->keep_ending = true;
    return 0;
  case KEY_RETRY:
    run->retry_failed = true;
    return 0;
  case KEY_RESTART:
    run->restart = true;
    return 0;
  case KEY_WORKERS:
    run->workers = (size_t)parse_count(state, "--workers", value, 1, 256);
    return 0;
  case KEY_MAX_PIXELS:
    run->max_pixels = parse_count(state, "--max-pixels", value, 1, INT64_MAX);
    return 0;
  case 'q':
    say_nothing();
    return 0;
  case ARGP_KEY_ARG:
    add_argument(run, need(strdup(value)));
    return 0;
  case ARGP_KEY_END:
    check_usage(run, state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* --------------------------------------------------------------------------- what there is to do */

static char *prompts_text(const struct prompts *prompts) {
  json_t *list = need(json_array());
  for (size_t i = 0; i < prompts->count; i++) {
    const struct sam3_prompt *prompt = &prompts->items[i];
    json_t *boxes = need(json_array());
    for (size_t k = 0; k < prompt->n_boxes; k++) {
      const struct sam3_box *b = &prompt->boxes[k];
      json_array_append_new(boxes, json_pack("{s[ffff]si}", "box", b->x0, b->y0, b->x1, b->y1, "label", b->positive));
    }
    json_array_append_new(list, need(json_pack("{ss?so}", "text", prompt->text, "boxes", boxes)));
  }
  char *text = need(json_dumps(list, JSON_REAL_PRECISION(9)));
  json_decref(list);
  return text;
}

/* Everything that results depend on; where they are computed is free. */
static int compare_settings(struct batch *run, const char *model) {
  char *real = realpath(model, NULL);
  struct setting settings[] = {{"the folder of all inputs", make_text("%s", run->inputs.root)},
                               {"--model", make_text("%s", real ? real : model)},
                               {"--dtype", make_text("%s", sam3_dtype_name(run->model.dtype))},
                               {"the list of prompts", prompts_text(&run->prompts)},
                               {"--threshold", make_text("%g", run->prompts.threshold)},
                               {"--format", make_text("%s", format_name(run->tree.format))},
                               {"--overlay", make_text("%s", run->tree.overlay ? run->tree.overlay : "none")},
                               {"--masks", make_text("%s", run->tree.masks ? "given" : "not given")},
                               {"--keep-ending", make_text("%s", run->keep_ending ? "given" : "not given")},
                               {"--max-pixels", make_text("%llu", (unsigned long long)run->max_pixels)}};
  size_t n = sizeof settings / sizeof *settings;
  int code = journal_settings(run->journal, settings, n);
  for (size_t i = 0; i < n; i++)
    free(settings[i].value);
  free(real);
  return code;
}

static bool found(void *user, const char *name, const struct stat *status) {
  struct batch *run = user;
  const char *slash = strrchr(name, '/'), *dot = strrchr(slash ? slash : name, '.');
  bool cut = !run->keep_ending && dot && dot > (slash ? slash + 1 : name);
  char *output = make_text("%.*s", cut ? (int)(dot - name) : (int)strlen(name), name);
  bool good = status ? journal_add_image(run->journal, name, output, status->st_size,
                                         (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec)
                     : journal_add_image(run->journal, name, output, -1, 0);
  free(output);
  return good;
}

static bool find_inputs(struct batch *run) {
  for (size_t i = 0; i < run->n_arguments; i++)
    if (!inputs_add(&run->inputs, run->arguments[i]))
      return false;
  if (!run->inputs.root)
    complain("the lists name no image");
  return run->inputs.root;
}

/* The folders are there and tell inputs from results. */
static int check_folders(struct batch *run) {
  if (!make_directories(run->tree.root))
    return EXIT_FAILED;
  run->tree.real = need(realpath(run->tree.root, NULL));
  if ((!run->tree.overlay && !run->tree.masks) || strcmp(run->tree.real, run->inputs.root) != 0)
    return EXIT_DONE;
  complain("-o %s: overlays and masks would lie among the images and be taken for some", run->tree.root);
  return EXIT_USAGE;
}

static int find_images(struct batch *run) {
  if (!journal_begin_images(run->journal) || !inputs_scan(&run->inputs, run->tree.real, found, run) ||
      !journal_end_images(run->journal, run->retry_failed) || !journal_count(run->journal, &run->before))
    return EXIT_FAILED;
  if (!run->before.all)
    complain("%s: no images there", run->inputs.root);
  else if (run->before.done)
    say("%zu of %zu images are done already", run->before.done, run->before.all);
  return run->before.all ? EXIT_DONE : EXIT_FAILED;
}

/* ---------------------------------------------------------------------------------------- the end */

struct reader {
  bool (*take)(void *writer, const char *text);
  void *writer;
};

static bool read_document(void *user, const char *name, const char *text) {
  const struct reader *reader = user;
  (void)name;
  return reader->take(reader->writer, text);
}

static bool each_document(void *user, bool (*take)(void *writer, const char *text), void *writer) {
  struct reader reader = {take, writer};
  return journal_each_document(user, read_document, &reader);
}

static bool write_dataset(struct batch *run) {
  char *path = make_text("%s/coco.json", run->tree.root);
  struct output *out = output_open(path);
  bool good = out && coco_write(out, each_document, run->journal);
  if (out && good)
    good = output_close(out);
  else if (out)
    output_drop(out);
  free(path);
  return good;
}

static bool print_failure(void *user, const char *name, const char *message) {
  (void)user;
  char *row = make_text("  %-40s  %s", name, message);
  hide_controls(row); /* a line feed in a name would end it */
  fprintf(stderr, "%s\n", row);
  free(row);
  return true;
}

static int finish(struct batch *run) {
  struct journal_counts now;
  if (!journal_count(run->journal, &now))
    return EXIT_FAILED;
  double took = run->start > 0 ? seconds_now() - run->start : 0;
  bool complete = now.done + now.failed == now.all;
  if (complete && now.done && run->tree.format == SAM3_FORMAT_COCO && !write_dataset(run))
    return EXIT_FAILED;
  if (run->done)
    say("%zu images in %.1f s, %.2f images/s", run->done, took, (double)run->done / took);
  if (now.failed) {
    complain("%zu of %zu images failed%s", now.failed, now.all, complete ? " (--retry-failed tries them again):" : ":");
    journal_each_failed(run->journal, print_failure, NULL);
  }
  if (!complete) {
    complain("stopped: %zu of %zu images are done; the same command goes on from there", now.done, now.all);
    return run->signal ? exit_code_of_signal(run->signal) : EXIT_FAILED;
  }
  say("%zu of %zu images are done, in %s", now.done, now.all, run->tree.root);
  return now.failed || run->broken ? EXIT_FAILED : EXIT_DONE;
}

static int open_journal(struct batch *run) {
  char *path = make_text("%s/.sam3-batch.db", run->tree.root);
  bool good = journal_open(path, run->restart, &run->journal) && tree_open(&run->tree);
  free(path);
  return good ? EXIT_DONE : EXIT_FAILED;
}

static int run_batch(struct batch *run) {
  char model[PATH_MAX];
  bool demo;
  if (!prompts_read_file(&run->prompts) || !find_inputs(run) || find_model(run->model.model, model, &demo) != EXIT_DONE)
    return EXIT_FAILED;
  int code = check_folders(run);
  if (code == EXIT_DONE)
    code = open_journal(run);
  if (code == EXIT_DONE)
    code = compare_settings(run, model);
  if (code == EXIT_DONE)
    code = find_images(run);
  if (code == EXIT_DONE)
    code = batch_images(run, model);
  if (run->engine || code == EXIT_DONE) { /* also what was done before it broke off */
    int end = finish(run);
    code = code == EXIT_DONE ? end : code;
  }
  return code;
}

int batch_main(int argc, char **argv) {
  struct batch run = {.lock = PTHREAD_MUTEX_INITIALIZER};
  const struct argp_child children[] = {{&prompts_argp, 0, NULL, 0},
                                        {&model_argp, 0, NULL, 0},
                                        {&engine_argp, 0, NULL, 0},
                                        {&help_argp, 0, NULL, 0},
                                        {0}};
  const struct argp argp = {flags, parse, "INPUT...", doc, children, NULL, NULL};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);
  int code;
  if (begin_launch(&run.model, &run.engine_flags, &code))
    code = run_batch(&run);
  sam3_engine_close(run.engine);
  tree_close(&run.tree);
  journal_close(run.journal);
  inputs_free(&run.inputs);
  prompts_free(&run.prompts);
  for (size_t i = 0; i < run.n_arguments; i++)
    free((char *)run.arguments[i]);
  free(run.arguments);
  return code;
}
