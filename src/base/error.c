#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

sam3_status fail(struct sam3_error *err, sam3_status status, const char *format, ...) {
  if (err) {
    va_list args;
    va_start(args, format);
    err->status = status;
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
  }
  return status;
}

sam3_status fail_memory(struct sam3_error *err, size_t bytes, const char *what) {
  return fail(err, SAM3_ERR_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

const char *sam3_status_name(sam3_status status) {
  static const char *const names[] = {"ok",     "argument", "io",        "format", "unsupported", "limit",
                                      "memory", "device",   "cancelled", "busy",   "timeout"};
  return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

const char *sam3_version(void) {
  return SAM3_VERSION;
}

const char *sam3_dtype_name(sam3_dtype dtype) {
  static const char *const names[] = {"f32", "bf16", "f16"};
  return (unsigned)dtype < sizeof names / sizeof *names ? names[dtype] : "unknown";
}
