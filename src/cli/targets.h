/* Where the results of several images go, so that none overwrites another. */
#ifndef SAM3_CLI_TARGETS_H
#define SAM3_CLI_TARGETS_H

#include "cli/cli.h"

/* The file's name without directory and ending ("stdin" for "-"). Free with free(). */
char *image_stem(const char *image);

/* Does `pattern` name a file for each image: has it {stem}, or is it a directory (one that exists, or a final slash)?
 */
bool target_is_pattern(const char *pattern);
/* The file for one image: {stem} replaced; in a directory, <stem><ending>. Free with free(). */
char *target_path(const char *pattern, const char *stem, const char *ending);

/* Every file of a run. */
struct targets {
  struct target *items;
  size_t count;
};

/* `path` is read, or written for the flag `flag`, on behalf of `image`; it is copied. */
void targets_add(struct targets *targets, const char *path, const char *flag, const char *image);
/* False after complaining: two outputs have the same file, or one of them is also read. */
bool targets_check(struct targets *targets);
/* The directories of all outputs. False after complaining. */
bool targets_make_directories(const struct targets *targets);
void targets_free(struct targets *targets);

#endif
