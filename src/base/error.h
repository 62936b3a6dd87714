/* How a function says that it failed: it returns fail(err, status, "what, with which input"). */
#ifndef SAM3_BASE_ERROR_H
#define SAM3_BASE_ERROR_H

#include "sam3.h"

/* Fills `err` (unless NULL) with the formatted message and returns `status`. */
__attribute__((format(printf, 3, 4))) sam3_status fail(struct sam3_error *err, sam3_status status, const char *format,
                                                       ...);

/* fail() for an allocation of `bytes` bytes for `what`. */
sam3_status fail_memory(struct sam3_error *err, size_t bytes, const char *what);

/* Evaluates an expression that yields a sam3_status and returns it from the caller unless it is SAM3_OK. */
#define TRY(expression)                                                                                                \
  do {                                                                                                                 \
    sam3_status try_status = (expression);                                                                             \
    if (try_status != SAM3_OK)                                                                                         \
      return try_status;                                                                                               \
  } while (0)

#endif
