/* A main for fuzz targets without a fuzzer: every file of the directories given, and each cut short at some places. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* What custom mutators call; nothing mutates here. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) {
  (void)data, (void)max_size;
  return size;
}

static uint8_t *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END) != 0)
    return NULL;
  long length = ftell(file);
  uint8_t *bytes = length < 0 ? NULL : malloc((size_t)length + 1);
  rewind(file);
  *size = bytes ? fread(bytes, 1, (size_t)length, file) : 0;
  fclose(file);
  return bytes;
}

/* In a block of exactly that size, so that reading past the end shows. */
static void run_copy(const uint8_t *bytes, size_t size) {
  uint8_t *copy = malloc(size ? size : 1);
  if (!copy)
    abort();
  memcpy(copy, bytes, size);
  LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

#define CUTS 16

static int run_directory(const char *path) {
  int count = 0;
  DIR *directory = opendir(path);
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    char name[4096];
    size_t size;
    if (entry->d_name[0] == '.' || snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name)
      continue;
    uint8_t *bytes = read_file(name, &size);
    if (!bytes) {
      fprintf(stderr, "%s: cannot be read\n", name);
      exit(1);
    }
    for (size_t cut = 0; cut < CUTS; cut++)
      run_copy(bytes, size * cut / CUTS);
    run_copy(bytes, size);
    free(bytes);
    count++;
  }
  if (directory)
    closedir(directory);
  return count;
}

int main(int argc, char **argv) {
  int count = 0;
  for (int i = 1; i < argc; i++)
    count += run_directory(argv[i]);
  printf("%d files\n", count);
  return count == 0; /* an empty corpus shows nothing */
}
