/* Whole files: read at once, and written whole or not at all. */
#ifndef SAM3_IMAGE_FILE_H
#define SAM3_IMAGE_FILE_H

#include <stdio.h>

#include "sam3.h"

/* All bytes of `path` ("-" is standard input; pipes will do), at most `max_size`. Free `*bytes` with free().
 * SAM3_ERR_IO, SAM3_ERR_LIMIT, SAM3_ERR_MEMORY. */
sam3_status file_read(const char *path, size_t max_size, uint8_t **bytes, size_t *size, struct sam3_error *err);

/* A file that appears under its name when it is complete: until then it stands beside it under another one. */
struct new_file {
  FILE *stream;
  const char *path; /* the caller's */
  char *temporary;
};

/* Every file_create() that succeeded is followed by one file_finish(). */
sam3_status file_create(struct new_file *file, const char *path, struct sam3_error *err);
/* When `status` is SAM3_OK, gives the file its name; otherwise, and when writing failed, removes it. Returns `status`
 * or SAM3_ERR_IO. */
sam3_status file_finish(struct new_file *file, sam3_status status, struct sam3_error *err);

#endif
