#include "cli/sinks.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/coco.h"
#include "cli/targets.h"

static void check_overlay(const struct sinks *sinks, size_t n_images, struct argp_state *state) {
  const char *overlay = sinks->overlay, *ending = overlay ? strrchr(overlay, '.') : NULL;
  if (!overlay)
    return;
  if (!target_is_pattern(overlay) && n_images > 1)
    argp_error(state, "--overlay %s: several images need a directory or a name with {stem}", overlay);
  if (!(target_is_pattern(overlay) && !strstr(overlay, "{stem}")) &&
      !(ending && (!strcasecmp(ending, ".png") || !strcasecmp(ending, ".jpg") || !strcasecmp(ending, ".jpeg"))))
    argp_error(state, "--overlay %s: the name must end in .png or .jpg", overlay);
}

static void add_sink(struct sinks *sinks, const char *flag, const char *pattern, sam3_format format) {
  sinks->items[sinks->count++] =
      (struct sink){.flag = flag, .pattern = pattern, .format = format, .each = target_is_pattern(pattern)};
}

void sinks_choose(struct sinks *sinks, size_t n_images, struct argp_state *state) {
  check_overlay(sinks, n_images, state);
  if (!sinks->output && (sinks->format_given || !(sinks->json || sinks->overlay || sinks->masks)))
    sinks->output = "-";
  if (sinks->json)
    add_sink(sinks, "--json", sinks->json, SAM3_FORMAT_JSON);
  if (sinks->output)
    add_sink(sinks, "--output", sinks->output, sinks->format);
  if (sinks->count == 2 && !strcmp(sinks->json, "-") && !strcmp(sinks->output, "-"))
    argp_error(state, "--json and --output cannot both go to standard output");
  for (size_t i = 0; i < sinks->count; i++)
    if (sinks->items[i].format == SAM3_FORMAT_YOLO && !sinks->items[i].each && n_images > 1)
      argp_error(state, "--format yolo: several images need -o with a directory or a name with {stem}");
}

int sinks_check(const struct sinks *sinks, const char *const *images, size_t n_images, const char *prompt_file) {
  struct targets targets = {0};
  for (size_t i = 0; i < n_images; i++)
    targets_add(&targets, images[i], NULL, NULL);
  if (prompt_file)
    targets_add(&targets, prompt_file, NULL, NULL);
  for (size_t s = 0; s < sinks->count; s++)
    if (!sinks->items[s].each)
      targets_add(&targets, sinks->items[s].pattern, sinks->items[s].flag, NULL);
  for (size_t i = 0; i < n_images; i++) {
    char *stem = image_stem(images[i]);
    for (size_t s = 0; s < sinks->count; s++)
      if (sinks->items[s].each) {
        char *path = target_path(sinks->items[s].pattern, stem, format_ending(sinks->items[s].format));
        targets_add(&targets, path, sinks->items[s].flag, images[i]);
        free(path);
      }
    if (sinks->overlay) {
      char *path = target_path(sinks->overlay, stem, ".png");
      targets_add(&targets, path, "--overlay", images[i]);
      free(path);
    }
    if (sinks->masks) {
      char *path = NULL; /* stands for all its masks */
      need(asprintf(&path, "%s/%s-*.png", sinks->masks, stem) < 0 ? NULL : path);
      targets_add(&targets, path, "--masks", images[i]);
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
  char *path = target_path(sink->pattern, stem, format_ending(sink->format));
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

bool sinks_write(struct sinks *sinks, const struct sam3_results *results, const sam3_image *image, const char *model,
                 const char *name) {
  struct sam3_error err;
  char *stem = image_stem(name);
  bool good = true;
  for (size_t i = 0; i < sinks->count; i++)
    good &= write_sink(&sinks->items[i], results, model, name, stem);
  if (sinks->overlay) {
    char *path = target_path(sinks->overlay, stem, ".png");
    if (sam3_results_overlay(results, image, path, &err) != SAM3_OK)
      failed(&err), good = false;
    free(path);
  }
  if (sinks->masks && sam3_results_write_masks(results, sinks->masks, stem, &err) != SAM3_OK)
    failed(&err), good = false;
  free(stem);
  return good;
}

bool sinks_open(struct sinks *sinks) {
  for (size_t i = 0; i < sinks->count; i++)
    if (!sinks->items[i].each && !(sinks->items[i].stream = output_open(sinks->items[i].pattern)))
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

bool sinks_close(struct sinks *sinks, bool keep) {
  bool good = true;
  for (size_t i = 0; i < sinks->count; i++)
    good &= close_sink(&sinks->items[i], keep);
  return good;
}
