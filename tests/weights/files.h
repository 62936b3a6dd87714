/* Checkpoint files for tests: good ones, and bytes to damage. */
#ifndef TESTS_WEIGHTS_FILES_H
#define TESTS_WEIGHTS_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "weights/weights.h"

/* Bytes that grow. */
struct bytes {
  unsigned char *data;
  size_t size, capacity;
};
void put(struct bytes *bytes, const void *data, size_t size);
void put_number(struct bytes *bytes, uint64_t number, int size); /* little-endian */
void bytes_free(struct bytes *bytes);

/* A directory of its own for the running test program; everything in it goes with remove_directory(). */
void make_directory(void);
void remove_directory(void);
const char *in_directory(const char *name); /* its path; valid until the eighth call from now */
void write_file(const char *name, const void *data, size_t size);
void remove_file(const char *name);

/* The file `fixture` among tests/weights/fixtures. */
struct bytes read_fixture(const char *fixture);
const char *fixture_path(const char *fixture);

/* Element i of tensor `name`: as value() in tools/make_weights_fixtures.py. */
float value_of(const char *name, size_t i);

/* A safetensors file of this header, not padded, and `data_size` zero bytes. */
struct bytes safetensors(const char *header, size_t data_size);

/* One entry of a zip archive; `method` and `flags` as in its headers. */
struct part {
  const char *name;
  const void *data;
  size_t size;
  uint16_t method, flags;
};
/* An archive of stored entries; with `wide`, everything that zip64 can move into its own fields is there. */
struct bytes zip_of(const struct part *parts, size_t n, bool wide);
/* torch.save's archive of this pickle and one storage "0" of 64 zero bytes. */
struct bytes torch_of(const void *pickle, size_t size);

/* Opens `path` and expects it to fail so, with a message that contains each of the strings (`also` may be NULL). */
void expect_failure(const char *path, sam3_status status, const char *message, const char *also);
/* Writes the bytes as `name`, frees them and expects that opening fails so. */
void expect_bad(struct bytes bytes, sam3_status status, const char *message);
/* Writes the bytes, frees them and opens them. */
struct weights *open_bytes(struct bytes bytes);
struct weights *open_path(const char *path);

#endif
