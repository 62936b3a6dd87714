/* What the sub-commands share. The program stands on sam3.h alone. */
#ifndef SAM3_CLI_CLI_H
#define SAM3_CLI_CLI_H

#include <argp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sam3.h"

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* Each parses its own flags and returns an exit_code; argv[0] is "sam3 NAME". */
int segment_main(int argc, char **argv);
int serve_main(int argc, char **argv);
int batch_main(int argc, char **argv);
int top_main(int argc, char **argv);
int info_main(int argc, char **argv);
int devices_main(int argc, char **argv);
int bench_main(int argc, char **argv);
int tokenize_main(int argc, char **argv);
int convert_main(int argc, char **argv);
int worker_main(int argc, char **argv);

/* ---- messages, all on stderr, from any thread (message.c) ---- */

/* "sam3: ..." and a line feed. The progress bar is wiped first. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
/* As complain(), unless say_nothing() was called: what is good to know and not an error. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
void say_nothing(void);
/* Puts ? in place of what would move a terminal's cursor. */
void hide_controls(char *text);

/* A bar on stderr when that is a terminal, nothing otherwise or after say_nothing(). `label` must stay valid. */
void progress_show(const char *label, const char *stage, double fraction);
void progress_wipe(void);
/* The same for signal handlers. */
void progress_wipe_raw(void);

/* complain() about `err`; the exit code that its status asks for. */
int failed(const struct sam3_error *err);

/* Seconds on the monotonic clock. */
double seconds_now(void);

/* Memory for the program's own lists; on failure says so and ends with EXIT_FAILED. */
void *need(void *block);
/* need(asprintf()). */
__attribute__((format(printf, 1, 2))) char *make_text(const char *format, ...);
/* need(realloc()) for one more element when `count` is a power of two or 0. */
void *grow(void *list, size_t count, size_t element);

/* "3.4 GB", in powers of 1000. Returns `text`. */
const char *human_bytes(uint64_t bytes, char text[64]);

/* ---- values of flags (flags.c): a bad one ends the program as wrong usage, named by `flag` ---- */

float parse_threshold(struct argp_state *state, const char *flag, const char *text);
uint64_t parse_count(struct argp_state *state, const char *flag, const char *text, uint64_t least, uint64_t most);
sam3_dtype parse_dtype(struct argp_state *state, const char *flag, const char *text);
struct sam3_box parse_box(struct argp_state *state, const char *flag, const char *text, bool positive);

/* The result formats by name, and the ending of their files. */
sam3_format parse_format(struct argp_state *state, const char *flag, const char *text);
const char *format_name(sam3_format format);
const char *format_ending(sam3_format format);

/* NULL when x0 y0 x1 y1 are a box: finite and not empty; otherwise what is wrong with them. */
const char *box_problem(const double values[4]);

/* -m, -d and --dtype, for every command that runs a model: a child of its argp. */
struct model_flags {
  const char *model, *device;
  sam3_dtype dtype;
};
extern const struct argp model_argp;
/* --parallel, --schedule and --launcher, for the commands that run it on several devices. */
struct engine_flags {
  sam3_parallel parallel;
  sam3_schedule schedule;
  sam3_launcher launcher; /* or $SAM3_LAUNCHER */
  bool launcher_given;
  struct sam3_launch launch; /* from begin_launch() on */
};
extern const struct argp engine_argp;
/* -h, --help: the last child of every argp. */
extern const struct argp help_argp;

/* ---- models (open.c) ---- */

/* -m, or $SAM3_MODEL, or the demo model; says which. On failure complains and returns an exit code. */
int find_model(const char *path, char found[PATH_MAX], bool *demo);
/* The directory of the sample images. */
bool find_samples(char found[PATH_MAX]);
/* find_model() and open it. */
int open_model(const char *path, sam3_model **model);
int open_session(sam3_model *model, const struct model_flags *flags, sam3_session **session);
/* Before anything else is done: what a launcher has told this process (docs/launchers.md). False: this is another rank
 * than 0, which has worked for that one, or something was wrong; end with *code. */
bool begin_launch(const struct model_flags *flags, struct engine_flags *engine_flags, int *code);
/* An engine for images that come once each, on the devices of -d, separated by commas, or with a launcher's ranks. */
int open_engine(const char *model_path, const struct model_flags *flags, const struct engine_flags *engine_flags,
                sam3_engine **engine);

/* ---- output files (output.c) ---- */

/* A text file that appears whole or not at all: written beside its target and renamed. Devices, pipes and "-"
 * (standard output) are written directly. */
struct output;
/* NULL after complaining. `path` must stay valid. */
struct output *output_open(const char *path);
/* Each false after complaining; the error of a write may come as late as output_close(). What is written to standard
 * output is there at once. */
bool output_write(struct output *out, const char *text, size_t size);
bool output_close(struct output *out);
/* Gives up: the target is as it was. */
void output_drop(struct output *out);
/* Both at once. */
bool output_file(const char *path, const char *text);
/* Removes unfinished files: for signal handlers while there is one thread, and for any thread. */
void output_interrupt(void);
void output_abandon(void);
/* Nobody can read on, or the disk is full: says so (errno) and ends the program. */
_Noreturn void stdout_failed(void);
/* Directory `path` and those above it. False after complaining. */
bool make_directories(const char *path);

#endif
