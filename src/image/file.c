#include "image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

/* strerror() that is safe with threads: the GNU strerror_r(). */
static sam3_status fail_io(struct sam3_error *err, const char *path, const char *what) {
  char text[128];
  return fail(err, SAM3_ERR_IO, "%s: %s: %s", path, what, strerror_r(errno, text, sizeof text));
}

/* Reads one byte past `max_size` at the most, to tell a file of that size from a longer one. */
static sam3_status read_all(int fd, const char *name, size_t max_size, uint8_t **bytes, size_t *size,
                            struct sam3_error *err) {
  struct stat info;
  if (fstat(fd, &info))
    return fail_io(err, name, "cannot be read");
  if (S_ISDIR(info.st_mode))
    return fail(err, SAM3_ERR_IO, "%s: is a directory, not a file", name);
  size_t capacity = 1 << 16;
  if (S_ISREG(info.st_mode) && info.st_size > 0)
    capacity = (uintmax_t)info.st_size < max_size ? (size_t)info.st_size + 1 : max_size + 1;
  for (;;) {
    if (!*bytes || *size == capacity) {
      if (*bytes)
        capacity = capacity <= max_size / 2 ? capacity * 2 : max_size + 1;
      uint8_t *more = mem_resize(*bytes, capacity, 1);
      if (!more)
        return fail_memory(err, capacity, name);
      *bytes = more;
    }
    ssize_t n = read(fd, *bytes + *size, capacity - *size);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail_io(err, name, "cannot be read");
    if (!n)
      return SAM3_OK;
    *size += (size_t)n;
    if (*size > max_size)
      return fail(err, SAM3_ERR_LIMIT, "%s: more than the limit of %zu bytes", name, max_size);
  }
}

sam3_status file_read(const char *path, size_t max_size, uint8_t **bytes, size_t *size, struct sam3_error *err) {
  *bytes = NULL;
  *size = 0;
  bool from_stdin = !strcmp(path, "-");
  int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail_io(err, path, "cannot be opened");
  sam3_status status = read_all(fd, from_stdin ? "standard input" : path, max_size, bytes, size, err);
  if (!from_stdin)
    close(fd);
  if (status != SAM3_OK) {
    free(*bytes);
    *bytes = NULL;
    *size = 0;
  }
  return status;
}

sam3_status file_create(struct new_file *file, const char *path, struct sam3_error *err) {
  static atomic_uint serial; /* with the process id: no two live writers take the same name */
  *file = (struct new_file){.path = path};
  size_t size = strlen(path) + 40;
  file->temporary = mem_alloc(size);
  if (!file->temporary)
    return fail_memory(err, size, path);
  int fd;
  do {
    snprintf(file->temporary, size, "%s.%ld-%u.part", path, (long)getpid(), atomic_fetch_add(&serial, 1));
    fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EEXIST);
  if (fd >= 0)
    file->stream = fdopen(fd, "wb");
  if (file->stream)
    return SAM3_OK;
  sam3_status status = fail_io(err, path, "cannot be written");
  if (fd >= 0) {
    close(fd);
    unlink(file->temporary);
  }
  free(file->temporary);
  return status;
}

sam3_status file_finish(struct new_file *file, sam3_status status, struct sam3_error *err) {
  bool lost = ferror(file->stream);
  lost |= fclose(file->stream) != 0;
  if (status == SAM3_OK && lost)
    status = fail_io(err, file->path, "cannot be written");
  if (status == SAM3_OK && rename(file->temporary, file->path))
    status = fail_io(err, file->path, "cannot be written");
  if (status != SAM3_OK)
    unlink(file->temporary);
  free(file->temporary);
  return status;
}
