/* sam3 segment: images and prompts in, masks out. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/pipeline.h"
#include "cli/sinks.h"

struct segment {
  struct model_flags model;
  struct engine_flags engine_flags;
  struct prompts prompts;
  struct sinks sinks;
  const char **images;
  size_t n_images;
  uint64_t max_pixels;

  sam3_engine *engine;
  int code; /* how it went so far */
};

enum { KEY_JSON = 256, KEY_OVERLAY, KEY_MASKS, KEY_FORMAT, KEY_MAX_PIXELS };

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "Where results go (JSON to standard output, unless one of these is given):", 2},
    {"json", KEY_JSON, "FILE", 0, "the results as JSON; - is standard output", 0},
    {"output", 'o', "FILE", 0, "the results in the format of --format (default: standard output)", 0},
    {"format", KEY_FORMAT, "FORMAT", 0, "json (default), coco, yolo, labelme or polygons", 0},
    {"overlay", KEY_OVERLAY, "FILE", 0, "the image with the masks drawn on it, .png or .jpg", 0},
    {"masks", KEY_MASKS, "DIR", 0, "a PNG for each mask: NAME-PROMPT-DETECTION.png", 0},
    {0, 0, 0, 0, "Else:", 20},
    {"max-pixels", KEY_MAX_PIXELS, "N", 0, "refuse larger images (default 100 million)", 0},
    {"quiet", 'q', 0, 0, "only errors on standard error", 0},
    {0}};

static const char doc[] =
    "Finds every instance of each prompt in each image.\n"
    "\v"
    "Images are JPEG, PNG or WebP; - is standard input. Boxes before any -p make a prompt without text: \"everything "
    "like this\".\n"
    "\n"
    "Several images: JSON documents follow one another, one a line; COCO is one dataset. A FILE may have {stem} in its "
    "name, which stands for the image's name without its ending, or be a directory (with a final slash when it is not "
    "there yet); then each image has a file of its own. Directories are made. An image that cannot be read is reported "
    "and the others go on.\n"
    "\n"
    "Examples:\n"
    "  sam3 segment street.jpg -p \"red car\" --overlay cars.png\n"
    "  sam3 segment street.jpg -p dog --not-box 10,20,80,90 -p cat -t 0.4\n"
    "  sam3 segment *.jpg -p person --json results.jsonl --masks masks\n"
    "  sam3 segment *.jpg -p person --format yolo -o labels/\n"
    "\n"
    "Exit status: 0 done (nothing found is done, too), 1 failed, 2 wrong usage.";

static void check_usage(struct segment *run, struct argp_state *state) {
  if (!run->n_images)
    argp_error(state, "no IMAGE given");
  prompts_require(&run->prompts, state);
  size_t readers = run->prompts.file && strcmp(run->prompts.file, "-") == 0;
  for (size_t i = 0; i < run->n_images; i++)
    readers += strcmp(run->images[i], "-") == 0;
  if (readers > 1)
    argp_error(state, "standard input can be read only once");
  sinks_choose(&run->sinks, run->n_images, state);
}

static error_t parse(int key, char *value, struct argp_state *state) {
  struct segment *run = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &run->prompts;
    state->child_inputs[1] = &run->model;
    state->child_inputs[2] = &run->engine_flags;
    return 0;
  case KEY_JSON:
    run->sinks.json = value;
    return 0;
  case 'o':
    run->sinks.output = value;
    return 0;
  case KEY_FORMAT:
    run->sinks.format = parse_format(state, "--format", value);
    run->sinks.format_given = true;
    return 0;
  case KEY_OVERLAY:
    run->sinks.overlay = value;
    return 0;
  case KEY_MASKS:
    run->sinks.masks = value;
    return 0;
  case 'q':
    say_nothing();
    return 0;
  case KEY_MAX_PIXELS:
    run->max_pixels = parse_count(state, "--max-pixels", value, 1, UINT64_MAX);
    return 0;
  case ARGP_KEY_ARG:
    run->images = grow(run->images, run->n_images, sizeof *run->images);
    run->images[run->n_images++] = value;
    return 0;
  case ARGP_KEY_END:
    check_usage(run, state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* ------------------------------------------------------------------------------------- one by one */

static bool next_image(void *user, struct pipeline_item *item) {
  const struct segment *run = user;
  if (item->index == run->n_images)
    return false;
  item->path = run->images[item->index];
  return true;
}

/* "street.jpg: 3 red car, 0 dog (0.8 s)" */
static void say_summary(const char *name, const struct sam3_results *results, double took) {
  char *text = NULL;
  size_t size;
  FILE *stream = need(open_memstream(&text, &size));
  for (size_t i = 0; i < results->n_items; i++)
    fprintf(stream, "%s%zu %s", i ? ", " : "", results->items[i].n_detections,
            results->items[i].text ? results->items[i].text : "like the boxes");
  fclose(stream);
  say("%s: %s (%.2f s)", name, text, took);
  free(text);
}

/* One image, whose results nobody else sees: the others go on. */
static bool image_done(void *user, struct pipeline_item *item) {
  struct segment *run = user;
  const char *model = sam3_model_name(sam3_engine_model(run->engine));
  progress_wipe();
  if (item->err.status != SAM3_OK) {
    /* What is wrong with a file comes with its name. */
    complain("%s%s%s", item->image ? item->path : "", item->image ? ": " : "", item->err.message);
    run->code = EXIT_FAILED;
    return true;
  }
  if (!sinks_write(&run->sinks, item->results, item->image, model, item->path))
    run->code = EXIT_FAILED;
  say_summary(item->path, item->results, item->seconds);
  return true;
}

static void show_progress(void *user, const struct pipeline_item *oldest, const struct sam3_job_state *state) {
  const struct segment *run = user;
  if (!oldest)
    return;
  char label[96];
  const char *slash = strrchr(oldest->path, '/'), *base = slash ? slash + 1 : oldest->path;
  if (run->n_images > 1)
    snprintf(label, sizeof label, "%zu/%zu %.32s", oldest->index + 1, run->n_images, base);
  else
    snprintf(label, sizeof label, "%.40s", base);
  if (!state)
    progress_show(label, "", 0);
  else if (state->phase != SAM3_DONE)
    progress_show(label, state->phase == SAM3_RUNNING ? state->stage : "waiting", state->fraction);
}

static void interrupted(void *user, int number) {
  (void)user;
  progress_wipe_raw();
  output_abandon();
  _exit(exit_code_of_signal(number));
}

static void segment_images(struct segment *run) {
  size_t n_devices = sam3_engine_stats(run->engine).n_workers;
  const struct pipeline pipeline = {.engine = run->engine,
                                    .prompts = &run->prompts,
                                    .max_pixels = run->max_pixels,
                                    .threads = run->n_images > n_devices ? n_devices + 1 : run->n_images,
                                    .ordered = true,
                                    .user = run,
                                    .next = next_image,
                                    .done = image_done,
                                    .tick = show_progress,
                                    .interrupted = interrupted};
  pipeline_run(&pipeline);
}

static int run_segment(struct segment *run) {
  char model[PATH_MAX];
  bool demo;
  if (!prompts_read_file(&run->prompts))
    return EXIT_FAILED;
  int code = sinks_check(&run->sinks, run->images, run->n_images, run->prompts.file);
  if (code != EXIT_DONE)
    return code;
  code = find_model(run->model.model, model, &demo);
  if (code != EXIT_DONE)
    return code;
  bool ready = sinks_open(&run->sinks);
  run->code = ready ? open_engine(model, &run->model, &run->engine_flags, &run->engine) : EXIT_FAILED;
  if (run->code == EXIT_DONE)
    segment_images(run);
  /* An image that failed leaves the documents of the others. */
  if (!sinks_close(&run->sinks, run->engine && run->code != EXIT_USAGE))
    run->code = EXIT_FAILED;
  sam3_engine_close(run->engine);
  return run->code;
}

int segment_main(int argc, char **argv) {
  struct segment run = {0};
  const struct argp_child children[] = {{&prompts_argp, 0, NULL, 0},
                                        {&model_argp, 0, NULL, 0},
                                        {&engine_argp, 0, NULL, 0},
                                        {&help_argp, 0, NULL, 0},
                                        {0}};
  const struct argp argp = {flags, parse, "IMAGE...", doc, children, NULL, NULL};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);
  int code;
  if (begin_launch(&run.model, &run.engine_flags, &code))
    code = run_segment(&run);
  prompts_free(&run.prompts);
  free(run.images);
  return code;
}
