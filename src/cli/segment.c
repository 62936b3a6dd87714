/* sam3 segment: images and prompts in, masks out. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/coco.h"
#include "cli/prompts.h"
#include "cli/targets.h"

/* Results as text: one document an image, each into its own file or one after the other into one. */
struct sink {
  const char *flag, *pattern;
  sam3_format format;
  bool each;             /* a file for each image */
  struct output *stream; /* of all images */
  json_t *dataset;       /* COCO's of all images, written at the end */
};

struct segment {
  struct model_flags model;
  struct prompts prompts;
  const char **images;
  size_t n_images;
  const char *prompt_file, *json, *output, *overlay, *masks;
  sam3_format format;
  bool format_given;
  float threshold;
  uint64_t max_pixels;

  struct sink sinks[2];
  size_t n_sinks;
};

static const struct format {
  const char *name, *ending;
} formats[] = {
    [SAM3_FORMAT_JSON] = {"json", ".json"},         [SAM3_FORMAT_COCO] = {"coco", ".json"},
    [SAM3_FORMAT_YOLO] = {"yolo", ".txt"},          [SAM3_FORMAT_LABELME] = {"labelme", ".json"},
    [SAM3_FORMAT_POLYGONS] = {"polygons", ".json"},
};
#define N_FORMATS (sizeof formats / sizeof *formats)

enum { KEY_BOX = 256, KEY_NOT_BOX, KEY_PROMPTS, KEY_JSON, KEY_OVERLAY, KEY_MASKS, KEY_FORMAT, KEY_MAX_PIXELS };

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "What to look for:", 1},
    {"prompt", 'p', "TEXT", 0, "begin a prompt: a phrase, as \"red car\"", 0},
    {"box", KEY_BOX, "X0,Y0,X1,Y1", 0, "to the last prompt: an example, in pixels of the image", 0},
    {"not-box", KEY_NOT_BOX, "X0,Y0,X1,Y1", 0, "to the last prompt: not like this", 0},
    {"prompts", KEY_PROMPTS, "FILE", 0, "more prompts, as JSON; - is standard input", 0},
    {"threshold", 't', "SCORE", 0, "keep detections that score above it, 0 to 1 (default 0.5)", 0},
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

static sam3_format parse_format(struct argp_state *state, const char *text) {
  for (size_t i = 0; i < N_FORMATS; i++)
    if (strcmp(text, formats[i].name) == 0)
      return (sam3_format)i;
  argp_error(state, "--format %s: not one of json, coco, yolo, labelme, polygons", text);
  return SAM3_FORMAT_JSON;
}

static void check_usage(struct segment *run, struct argp_state *state) {
  if (!run->n_images)
    argp_error(state, "no IMAGE given");
  if (!run->prompts.count && !run->prompt_file)
    argp_error(state, "nothing to look for: give -p TEXT, --box X0,Y0,X1,Y1 or --prompts FILE");
  size_t readers = run->prompt_file && strcmp(run->prompt_file, "-") == 0;
  for (size_t i = 0; i < run->n_images; i++)
    readers += strcmp(run->images[i], "-") == 0;
  if (readers > 1)
    argp_error(state, "standard input can be read only once");
  if (run->overlay && !target_is_pattern(run->overlay)) {
    if (run->n_images > 1)
      argp_error(state, "--overlay %s: several images need a directory or a name with {stem}", run->overlay);
  }
  const char *ending = run->overlay ? strrchr(run->overlay, '.') : NULL;
  if (run->overlay && !(target_is_pattern(run->overlay) && !strstr(run->overlay, "{stem}")) &&
      !(ending && (!strcasecmp(ending, ".png") || !strcasecmp(ending, ".jpg") || !strcasecmp(ending, ".jpeg"))))
    argp_error(state, "--overlay %s: the name must end in .png or .jpg", run->overlay);
}

static void add_sink(struct segment *run, const char *flag, const char *pattern, sam3_format format) {
  run->sinks[run->n_sinks++] =
      (struct sink){.flag = flag, .pattern = pattern, .format = format, .each = target_is_pattern(pattern)};
}

static void choose_sinks(struct segment *run, struct argp_state *state) {
  if (!run->output && (run->format_given || !(run->json || run->overlay || run->masks)))
    run->output = "-";
  if (run->json)
    add_sink(run, "--json", run->json, SAM3_FORMAT_JSON);
  if (run->output)
    add_sink(run, "--output", run->output, run->format);
  if (run->n_sinks == 2 && !strcmp(run->json, "-") && !strcmp(run->output, "-"))
    argp_error(state, "--json and --output cannot both go to standard output");
  for (size_t i = 0; i < run->n_sinks; i++)
    if (run->sinks[i].format == SAM3_FORMAT_YOLO && !run->sinks[i].each && run->n_images > 1)
      argp_error(state, "--format yolo: several images need -o with a directory or a name with {stem}");
}

static error_t parse(int key, char *value, struct argp_state *state) {
  struct segment *run = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &run->model;
    return 0;
  case 'p':
    prompts_add_text(&run->prompts, value);
    return 0;
  case KEY_BOX:
    prompts_add_box(&run->prompts, parse_box(state, "--box", value, true));
    return 0;
  case KEY_NOT_BOX:
    prompts_add_box(&run->prompts, parse_box(state, "--not-box", value, false));
    return 0;
  case KEY_PROMPTS:
    if (run->prompt_file)
      argp_error(state, "--prompts %s: there is already --prompts %s", value, run->prompt_file);
    run->prompt_file = value;
    return 0;
  case 't':
    run->threshold = parse_threshold(state, "--threshold", value);
    return 0;
  case KEY_JSON:
    run->json = value;
    return 0;
  case 'o':
    run->output = value;
    return 0;
  case KEY_FORMAT:
    run->format = parse_format(state, value);
    run->format_given = true;
    return 0;
  case KEY_OVERLAY:
    run->overlay = value;
    return 0;
  case KEY_MASKS:
    run->masks = value;
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
    choose_sinks(run, state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* Every file that the run will write has one source and a directory. */
static int check_targets(const struct segment *run) {
  struct targets targets = {0};
  for (size_t i = 0; i < run->n_images; i++)
    targets_add(&targets, run->images[i], NULL, NULL);
  if (run->prompt_file)
    targets_add(&targets, run->prompt_file, NULL, NULL);
  for (size_t s = 0; s < run->n_sinks; s++)
    if (!run->sinks[s].each)
      targets_add(&targets, run->sinks[s].pattern, run->sinks[s].flag, NULL);
  for (size_t i = 0; i < run->n_images; i++) {
    char *stem = image_stem(run->images[i]);
    for (size_t s = 0; s < run->n_sinks; s++)
      if (run->sinks[s].each) {
        char *path = target_path(run->sinks[s].pattern, stem, formats[run->sinks[s].format].ending);
        targets_add(&targets, path, run->sinks[s].flag, run->images[i]);
        free(path);
      }
    if (run->overlay) {
      char *path = target_path(run->overlay, stem, ".png");
      targets_add(&targets, path, "--overlay", run->images[i]);
      free(path);
    }
    if (run->masks) {
      char *path = NULL; /* stands for all its masks */
      need(asprintf(&path, "%s/%s-*.png", run->masks, stem) < 0 ? NULL : path);
      targets_add(&targets, path, "--masks", run->images[i]);
      free(path);
    }
    free(stem);
  }
  int code = EXIT_DONE;
  if (!targets_check(&targets))
    code = EXIT_USAGE;
  else if (!targets_make_directories(&targets))
    code = EXIT_FAILED;
  targets_free(&targets);
  return code;
}

static bool write_text(struct sink *sink, const char *stem, const char *text) {
  if (!sink->each)
    return output_write(sink->stream, text, strlen(text));
  char *path = target_path(sink->pattern, stem, formats[sink->format].ending);
  bool written = output_file(path, text);
  free(path);
  return written;
}

static bool write_sink(struct sink *sink, const struct sam3_results *results, const char *model, const char *image,
                       const char *stem) {
  struct sam3_error err;
  char *text;
  if (sam3_results_format(results, sink->format, model, image, &text, &err) != SAM3_OK)
    return failed(&err), false;
  if (sink->format == SAM3_FORMAT_COCO && !sink->each) {
    sink->dataset = coco_add(sink->dataset, text);
    free(text);
    return true;
  }
  bool written = write_text(sink, stem, text);
  free(text);
  return written;
}

static bool write_results(struct segment *run, const struct sam3_results *results, const sam3_image *image,
                          const char *model, const char *name) {
  struct sam3_error err;
  char *stem = image_stem(name);
  bool good = true;
  for (size_t i = 0; i < run->n_sinks; i++)
    good &= write_sink(&run->sinks[i], results, model, name, stem);
  if (run->overlay) {
    char *path = target_path(run->overlay, stem, ".png");
    if (sam3_results_overlay(results, image, path, &err) != SAM3_OK)
      failed(&err), good = false;
    free(path);
  }
  if (run->masks && sam3_results_write_masks(results, run->masks, stem, &err) != SAM3_OK)
    failed(&err), good = false;
  free(stem);
  return good;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool show_progress(void *label, const char *stage, double fraction) {
  progress_show(label, stage, fraction);
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

/* One image, whose result nobody else sees; false after complaining. */
static bool segment_image(struct segment *run, sam3_session *session, sam3_features *features, const char *model,
                          size_t index) {
  const char *name = run->images[index];
  struct sam3_error err;
  sam3_image *image;
  if (sam3_image_read(name, run->max_pixels, &image, &err) != SAM3_OK)
    return failed(&err), false;

  char label[96];
  const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
  if (run->n_images > 1)
    snprintf(label, sizeof label, "%zu/%zu %.32s", index + 1, run->n_images, base);
  else
    snprintf(label, sizeof label, "%.40s", base);
  sam3_session_on_progress(session, show_progress, label);

  double start = seconds();
  struct sam3_results *results = NULL;
  struct sam3_segment_options options = {.threshold = run->threshold};
  bool good =
      sam3_encode(session, image, features, &err) == SAM3_OK &&
      sam3_segment(session, features, run->prompts.items, run->prompts.count, &options, &results, &err) == SAM3_OK;
  double took = seconds() - start;
  progress_wipe();
  if (good) {
    good = write_results(run, results, image, model, name);
    say_summary(name, results, took);
  } else {
    complain("%s: %s", name, err.message);
  }
  sam3_session_on_progress(session, NULL, NULL);
  sam3_results_free(results);
  sam3_image_free(image);
  return good;
}

static int segment_all(struct segment *run, sam3_model *model) {
  struct sam3_error err;
  sam3_session *session;
  sam3_features *features;
  int code = open_session(model, &run->model, &session);
  if (code != EXIT_DONE)
    return code;
  if (sam3_features_create(session, &features, &err) != SAM3_OK) {
    sam3_session_close(session);
    return failed(&err);
  }
  for (size_t i = 0; i < run->n_images; i++)
    if (!segment_image(run, session, features, sam3_model_name(model), i))
      code = EXIT_FAILED;
  sam3_features_free(features);
  sam3_session_close(session);
  return code;
}

/* The files that all images share, open from the start: a place that cannot be written shows before the work. */
static bool open_sinks(struct segment *run) {
  for (size_t i = 0; i < run->n_sinks; i++)
    if (!run->sinks[i].each && !(run->sinks[i].stream = output_open(run->sinks[i].pattern)))
      return false;
  return true;
}

static bool close_sink(struct sink *sink, bool keep) {
  bool good = true;
  if (keep && sink->dataset) {
    char *text = coco_text(sink->dataset);
    good = output_write(sink->stream, text, strlen(text));
    free(text);
  }
  json_decref(sink->dataset);
  if (sink->stream && keep && good)
    return output_close(sink->stream);
  if (sink->stream)
    output_drop(sink->stream);
  return good;
}

static int run_segment(struct segment *run) {
  if (run->prompt_file && !prompts_read(&run->prompts, run->prompt_file))
    return EXIT_FAILED;
  int code = check_targets(run);
  if (code != EXIT_DONE)
    return code;
  sam3_model *model;
  code = open_model(run->model.model, &model);
  if (code != EXIT_DONE)
    return code;
  bool ready = open_sinks(run);
  code = ready ? segment_all(run, model) : EXIT_FAILED;
  /* An image that failed leaves the documents of the others. */
  for (size_t i = 0; i < run->n_sinks; i++)
    if (!close_sink(&run->sinks[i], ready && code != EXIT_USAGE))
      code = EXIT_FAILED;
  sam3_model_close(model);
  return code;
}

int segment_main(int argc, char **argv) {
  struct segment run = {.threshold = SAM3_DEFAULT_THRESHOLD};
  const struct argp_child children[] = {{&model_argp, 0, NULL, 0}, {&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {flags, parse, "IMAGE...", doc, children, NULL, NULL};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);
  int code = run_segment(&run);
  prompts_free(&run.prompts);
  free(run.images);
  return code;
}
