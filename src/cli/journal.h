/* What a batch has done, in a SQLite file beside its results, so that it goes on after whatever ended it. From any
 * thread. What can fail is false after complaining. */
#ifndef SAM3_CLI_JOURNAL_H
#define SAM3_CLI_JOURNAL_H

#include "cli/cli.h"

struct journal;

/* Opens or makes the journal `path`, which nobody else has open until it is closed. With `restart` it forgets all. */
bool journal_open(const char *path, bool restart, struct journal **journal);
void journal_close(struct journal *journal);

/* Settings that all results of a batch have in common. */
struct setting {
  const char *name;
  char *value;
};
/* Keeps them in a journal without results; in one that has others, complains about each that differs: an exit code. */
int journal_settings(struct journal *journal, const struct setting *settings, size_t n);

/* The images of this run, all between the two calls; others are kept, but do not count. Image `name` has its results in
 * files whose names begin with `output`, which it has for itself; it counts as done or failed if it was, unless size or
 * time differ from then. */
bool journal_begin_images(struct journal *journal);
bool journal_add_image(struct journal *journal, const char *name, const char *output, int64_t size, int64_t time);
bool journal_end_images(struct journal *journal, bool retry_failed);

struct journal_counts {
  size_t all, done, failed;
};
bool journal_count(struct journal *journal, struct journal_counts *counts);

/* An image to do; each is handed out once. False: none is left, or after complaining. */
struct journal_image {
  char *name, *output;
  bool again; /* it may have older results */
};
bool journal_next(struct journal *journal, struct journal_image *image);
void journal_image_free(struct journal_image *image);

/* `document` (NULL: none) is kept for the end. */
bool journal_done(struct journal *journal, const char *name, const char *document);
bool journal_failed(struct journal *journal, const char *name, const char *message);

/* Of all images of this run, by name: those that failed with their messages, or the documents. */
bool journal_each_failed(struct journal *journal, bool (*take)(void *user, const char *name, const char *text),
                         void *user);
bool journal_each_document(struct journal *journal, bool (*take)(void *user, const char *name, const char *text),
                           void *user);

#endif
