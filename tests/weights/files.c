#include "files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void put(struct bytes *bytes, const void *data, size_t size) {
  if (bytes->size + size >= bytes->capacity)
    bytes->data = realloc(bytes->data, bytes->capacity = 2 * (bytes->size + size) + 64);
  assert_non_null(bytes->data);
  if (size)
    memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
}

void put_number(struct bytes *bytes, uint64_t number, int size) {
  for (int i = 0; i < size; i++)
    put(bytes, &(unsigned char){number >> (8 * i)}, 1);
}

void bytes_free(struct bytes *bytes) {
  free(bytes->data);
  *bytes = (struct bytes){0};
}

/* ---------------------------------------------------------------------------------- directory */

static char directory[200];

void make_directory(void) {
  const char *base = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/sam3-test-XXXXXX", base ? base : "/tmp");
  assert_non_null(mkdtemp(directory));
}

void remove_directory(void) {
  DIR *dir = opendir(directory);
  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir));)
    if (entry->d_name[0] != '.')
      remove(in_directory(entry->d_name));
  closedir(dir);
  assert_int_equal(rmdir(directory), 0);
}

const char *in_directory(const char *name) {
  static char paths[8][600];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof *paths, "%s%s%s", directory, *name ? "/" : "", name);
  return path;
}

void write_file(const char *name, const void *data, size_t size) {
  FILE *file = fopen(in_directory(name), "wb");
  assert_non_null(file);
  if (size)
    assert_int_equal(fwrite(data, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

void remove_file(const char *name) {
  assert_int_equal(unlink(in_directory(name)), 0);
}

const char *fixture_path(const char *fixture) {
  static char path[600];
  snprintf(path, sizeof path, "%s/%s", FIXTURES, fixture);
  return path;
}

struct bytes read_fixture(const char *fixture) {
  struct bytes bytes = {0};
  char block[4096];
  FILE *file = fopen(fixture_path(fixture), "rb");
  assert_non_null(file);
  for (size_t n; (n = fread(block, 1, sizeof block, file));)
    put(&bytes, block, n);
  fclose(file);
  return bytes;
}

/* ------------------------------------------------------------------------------------ contents */

float value_of(const char *name, size_t i) {
  uint32_t hash = 2166136261u;
  for (; *name; name++)
    hash = (hash ^ (unsigned char)*name) * 16777619u;
  return (float)((hash + (uint32_t)i * 2654435761u) >> 8);
}

struct bytes safetensors(const char *header, size_t data_size) {
  struct bytes bytes = {0};
  put_number(&bytes, strlen(header), 8);
  put(&bytes, header, strlen(header));
  for (size_t i = 0; i < data_size; i++)
    put_number(&bytes, 0, 1);
  return bytes;
}

/* The two headers of an entry have these fields in common. */
static void put_entry_fields(struct bytes *zip, const struct part *part, bool wide) {
  put_number(zip, wide ? 45 : 20, 2);
  put_number(zip, part->flags, 2);
  put_number(zip, part->method, 2);
  put_number(zip, 0, 2 + 2 + 4); /* time, date, checksum */
  put_number(zip, wide ? UINT32_MAX : part->size, 4);
  put_number(zip, wide ? UINT32_MAX : part->size, 4);
  put_number(zip, strlen(part->name), 2);
}

static void put_end64(struct bytes *zip, size_t n, size_t start) {
  size_t end = zip->size;
  put_number(zip, 0x06064b50, 4);
  put_number(zip, 44, 8);
  put_number(zip, 45 | 45 << 16, 4);
  put_number(zip, 0, 8); /* disks */
  put_number(zip, n, 8);
  put_number(zip, n, 8);
  put_number(zip, end - start, 8);
  put_number(zip, start, 8);
  put_number(zip, 0x07064b50, 4);
  put_number(zip, 0, 4);
  put_number(zip, end, 8);
  put_number(zip, 1, 4);
}

struct bytes zip_of(const struct part *parts, size_t n, bool wide) {
  struct bytes zip = {0};
  size_t starts[32];
  assert_true(n <= 32);
  for (size_t i = 0; i < n; i++) {
    starts[i] = zip.size;
    put_number(&zip, 0x04034b50, 4);
    put_entry_fields(&zip, &parts[i], wide);
    size_t gap = 63 & -(zip.size + 2 + strlen(parts[i].name) + 4); /* data at a multiple of 64, as torch has it */
    put_number(&zip, gap + 4, 2);
    put(&zip, parts[i].name, strlen(parts[i].name));
    put(&zip, "FB", 2);
    put_number(&zip, gap, 2);
    while (gap--)
      put(&zip, "Z", 1);
    put(&zip, parts[i].data, parts[i].size);
  }
  size_t start = zip.size;
  for (size_t i = 0; i < n; i++) {
    put_number(&zip, 0x02014b50, 4);
    put_number(&zip, 45, 2);
    put_entry_fields(&zip, &parts[i], wide);
    put_number(&zip, wide ? 6 + 28 : 0, 2);
    put_number(&zip, 0, 2 + 2 + 2); /* comment, disk, attributes */
    put_number(&zip, 0, 4);
    put_number(&zip, wide ? UINT32_MAX : starts[i], 4);
    put(&zip, parts[i].name, strlen(parts[i].name));
    if (wide) {
      put(&zip, "XX\2\0..", 6); /* a field to pass over */
      put_number(&zip, 1 | 24 << 16, 4);
      put_number(&zip, parts[i].size, 8);
      put_number(&zip, parts[i].size, 8);
      put_number(&zip, starts[i], 8);
    }
  }
  size_t size = zip.size - start;
  if (wide)
    put_end64(&zip, n, start);
  put_number(&zip, 0x06054b50, 4);
  put_number(&zip, 0, 4);
  put_number(&zip, wide ? 0xffff : n, 2);
  put_number(&zip, wide ? 0xffff : n, 2);
  put_number(&zip, wide ? UINT32_MAX : size, 4);
  put_number(&zip, wide ? UINT32_MAX : start, 4);
  put_number(&zip, 0, 2);
  return zip;
}

struct bytes torch_of(const void *pickle, size_t size) {
  static const unsigned char storage[64];
  const struct part parts[] = {{.name = "t/data.pkl", .data = pickle, .size = size},
                               {.name = "t/byteorder", .data = "little", .size = 6},
                               {.name = "t/data/0", .data = storage, .size = sizeof storage}};
  return zip_of(parts, 3, false);
}

/* -------------------------------------------------------------------------------- expectations */

void expect_failure(const char *path, sam3_status status, const char *message, const char *also) {
  struct sam3_error err = {0};
  struct weights *weights = (struct weights *)1;
  sam3_status got = weights_open(path, &weights, &err);
  if (got != status || !strstr(err.message, message) || (also && !strstr(err.message, also)))
    fail_msg("%s: expected %s with '%s'; got %s: %s", path, sam3_status_name(status), message, sam3_status_name(got),
             err.message);
  assert_null(weights);
  assert_int_equal(err.status, status);
}

void expect_bad(struct bytes bytes, sam3_status status, const char *message) {
  write_file("bad", bytes.data, bytes.size);
  bytes_free(&bytes);
  expect_failure(in_directory("bad"), status, message, in_directory("bad"));
}

struct weights *open_path(const char *path) {
  struct sam3_error err = {0};
  struct weights *weights = NULL;
  if (weights_open(path, &weights, &err) != SAM3_OK)
    fail_msg("%s", err.message);
  return weights;
}

struct weights *open_bytes(struct bytes bytes) {
  write_file("good", bytes.data, bytes.size);
  bytes_free(&bytes);
  return open_path(in_directory("good"));
}
