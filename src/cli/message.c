/* Everything that goes to stderr. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

static bool silent;
static atomic_bool bar_shown;

static void message(const char *format, va_list args) {
  flockfile(stderr);
  progress_wipe();
  fputs("sam3: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  funlockfile(stderr);
}

void complain(const char *format, ...) {
  va_list args;
  va_start(args, format);
  message(format, args);
  va_end(args);
}

void say(const char *format, ...) {
  if (silent)
    return;
  va_list args;
  va_start(args, format);
  message(format, args);
  va_end(args);
}

void say_nothing(void) {
  silent = true;
}

void hide_controls(char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 32 || *text == 127)
      *text = '?';
}

int failed(const struct sam3_error *err) {
  complain("%s", err->message);
  return err->status == SAM3_ERR_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

#define BAR 24
#define WIPE "\r\033[K"

void progress_show(const char *label, const char *stage, double fraction) {
  if (silent || !isatty(STDERR_FILENO))
    return;
  int done = (int)(fraction * BAR + 0.5);
  flockfile(stderr);
  bar_shown = true;
  fprintf(stderr, WIPE "%.40s [%.*s%*s] %3.0f %% %s", label, done, "########################", BAR - done, "",
          fraction * 100, stage);
  fflush(stderr);
  funlockfile(stderr);
}

void progress_wipe(void) {
  if (atomic_exchange(&bar_shown, false))
    fputs(WIPE, stderr);
}

void progress_wipe_raw(void) {
  if (bar_shown && write(STDERR_FILENO, WIPE, strlen(WIPE)) < 0)
    bar_shown = false;
}

double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void *need(void *block) {
  if (!block) {
    complain("out of memory");
    exit(EXIT_FAILED);
  }
  return block;
}

char *make_text(const char *format, ...) {
  char *text = NULL;
  va_list values;
  va_start(values, format);
  int length = vasprintf(&text, format, values);
  va_end(values);
  return need(length < 0 ? NULL : text);
}

void *grow(void *list, size_t count, size_t element) {
  return count & (count - 1) ? list : need(reallocarray(list, count ? 2 * count : 1, element));
}

const char *human_bytes(uint64_t bytes, char text[64]) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = (double)bytes;
  int unit = 0;
  for (; value >= 999.95 && unit < 4; unit++)
    value /= 1000;
  snprintf(text, 64, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text;
}
