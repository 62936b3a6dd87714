/* The values of flags, and the flags that several commands have. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* A decimal number at `*text`, which moves behind it; NaN when there is none. */
static double number(const char **text) {
  char *end;
  double value = strtod(*text, &end);
  if (end == *text)
    return NAN;
  *text = end;
  return value;
}

float parse_threshold(struct argp_state *state, const char *flag, const char *text) {
  const char *end = text;
  double value = number(&end);
  if (*end || !(value >= 0 && value <= 1))
    argp_error(state, "%s %s: not a number from 0 to 1", flag, text);
  return (float)value;
}

uint64_t parse_count(struct argp_state *state, const char *flag, const char *text, uint64_t least, uint64_t most) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end || errno || value < least || value > most)
    argp_error(state, "%s %s: not a whole number from %llu to %llu", flag, text, (unsigned long long)least,
               (unsigned long long)most);
  return value;
}

sam3_dtype parse_dtype(struct argp_state *state, const char *flag, const char *text) {
  static const sam3_dtype all[] = {SAM3_F32, SAM3_BF16, SAM3_F16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (strcmp(text, sam3_dtype_name(all[i])) == 0)
      return all[i];
  argp_error(state, "%s %s: not one of f32, bf16, f16", flag, text);
  return SAM3_F32;
}

const char *box_problem(const double values[4]) {
  for (int i = 0; i < 4; i++)
    if (!isfinite((float)values[i]))
      return "a coordinate is not a finite number";
  if (!((float)values[0] < (float)values[2]))
    return "x0 must be less than x1";
  if (!((float)values[1] < (float)values[3]))
    return "y0 must be less than y1";
  return NULL;
}

static const struct format {
  const char *name, *ending;
} formats[] = {
    [SAM3_FORMAT_JSON] = {"json", ".json"},         [SAM3_FORMAT_COCO] = {"coco", ".json"},
    [SAM3_FORMAT_YOLO] = {"yolo", ".txt"},          [SAM3_FORMAT_LABELME] = {"labelme", ".json"},
    [SAM3_FORMAT_POLYGONS] = {"polygons", ".json"},
};

sam3_format parse_format(struct argp_state *state, const char *flag, const char *text) {
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
    if (strcmp(text, formats[i].name) == 0)
      return (sam3_format)i;
  argp_error(state, "%s %s: not one of json, coco, yolo, labelme, polygons", flag, text);
  return SAM3_FORMAT_JSON;
}

const char *format_name(sam3_format format) {
  return formats[format].name;
}

const char *format_ending(sam3_format format) {
  return formats[format].ending;
}

struct sam3_box parse_box(struct argp_state *state, const char *flag, const char *text, bool positive) {
  double v[4];
  const char *at = text;
  bool four = true;
  for (int i = 0; i < 4 && four; i++) {
    const char *start = at;
    v[i] = number(&at);
    four = at != start && *at == (i < 3 ? ',' : '\0');
    at += i < 3 && four;
  }
  if (!four)
    argp_error(state, "%s %s: not four numbers X0,Y0,X1,Y1", flag, text);
  const char *problem = box_problem(v);
  if (problem)
    argp_error(state, "%s %s: %s", flag, text, problem);
  return (struct sam3_box){(float)v[0], (float)v[1], (float)v[2], (float)v[3], positive};
}

/* Keys without a letter; the commands' own begin at 256. */
enum { KEY_DTYPE = 512, KEY_PARALLEL, KEY_SCHEDULE, KEY_LAUNCHER, KEY_USAGE };

static error_t parse_model(int key, char *value, struct argp_state *state) {
  struct model_flags *flags = state->input;
  switch (key) {
  case 'm':
    flags->model = value;
    return 0;
  case 'd':
    flags->device = value;
    return 0;
  case KEY_DTYPE:
    flags->dtype = parse_dtype(state, "--dtype", value);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

const struct argp model_argp = {
    .options =
        (const struct argp_option[]){
            {0, 0, 0, 0, "The model:", 10},
            {"model", 'm', "MODEL", 0,
             "a Hugging Face directory, a .safetensors file or sam3.pt (default: $SAM3_MODEL, then the demo model)",
             10},
            {"device", 'd', "DEVICE", 0, "cpu (default), cpu:0, cpu:0-3, or ref: the slow reference", 0},
            {"dtype", KEY_DTYPE, "DTYPE", 0,
             "what to compute in: f32 (default), bf16 or f16; f32 where the CPU has no such units", 0},
            {0}},
    .parser = parse_model};

/* Which of `names` the text is: "auto" is the first. */
static int parse_choice(struct argp_state *state, const char *flag, const char *text, const char *const names[3]) {
  for (int i = 0; i < 3; i++)
    if (strcmp(text, names[i]) == 0)
      return i;
  argp_error(state, "%s %s: not one of %s, %s, %s", flag, text, names[0], names[1], names[2]);
  return 0;
}

static error_t parse_engine(int key, char *value, struct argp_state *state) {
  static const char *const parallel[] = {
      [SAM3_PARALLEL_AUTO] = "auto", [SAM3_PARALLEL_THREADS] = "threads", [SAM3_PARALLEL_PROCESSES] = "processes"};
  static const char *const schedule[] = {
      [SAM3_SCHEDULE_AUTO] = "auto", [SAM3_SCHEDULE_REPLICATE] = "replicate", [SAM3_SCHEDULE_SPLIT] = "split"};
  static const char *const launchers[] = {
      [SAM3_LAUNCHER_AUTO] = "auto", [SAM3_LAUNCHER_NONE] = "none", [SAM3_LAUNCHER_ENVIRONMENT] = "env"};
  struct engine_flags *flags = state->input;
  const char *set = getenv("SAM3_LAUNCHER");
  switch (key) {
  case KEY_LAUNCHER:
    flags->launcher = (sam3_launcher)parse_choice(state, "--launcher", value, launchers);
    flags->launcher_given = true;
    return 0;
  case ARGP_KEY_END:
    if (!flags->launcher_given && set && *set)
      flags->launcher = (sam3_launcher)parse_choice(state, "$SAM3_LAUNCHER", set, launchers);
    return 0;
  case KEY_PARALLEL:
    flags->parallel = (sam3_parallel)parse_choice(state, "--parallel", value, parallel);
    return 0;
  case KEY_SCHEDULE:
    flags->schedule = (sam3_schedule)parse_choice(state, "--schedule", value, schedule);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

const struct argp engine_argp = {
    .options =
        (const struct argp_option[]){
            {0, 0, 0, 0, "Several devices, as -d cpu:0,cpu:1:", 11},
            {"parallel", KEY_PARALLEL, "HOW", 0,
             "each in a thread or a process of its own: auto (default: processes when there are several), threads or "
             "processes",
             11},
            {"schedule", KEY_SCHEDULE, "HOW", 0,
             "each image to one device or over all of them: auto (default), replicate or split", 0},
            {"launcher", KEY_LAUNCHER, "HOW", 0,
             "whether torchrun, mpirun or srun has started this: auto (default, or $SAM3_LAUNCHER), none, or env: "
             "believe RANK and WORLD_SIZE, whoever has set them",
             0},
            {0}},
    .parser = parse_engine};

static error_t parse_help(int key, char *value, struct argp_state *state) {
  (void)value;
  if (key == 'h')
    argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
  else if (key == KEY_USAGE)
    argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK);
  else
    return ARGP_ERR_UNKNOWN;
  return 0;
}

const struct argp help_argp = {.options = (const struct argp_option[]){{"help", 'h', 0, 0, "print this text", -1},
                                                                       {"usage", KEY_USAGE, 0, OPTION_HIDDEN, 0, 0},
                                                                       {0}},
                               .parser = parse_help};
