/* sam3.pt: an input that begins with 'P' is a whole archive; any other is the pickle in a proper archive, so that the
 * fuzzer need not learn to build one around it. */
#include "fuzz_weights.h"

static size_t put(uint8_t *out, size_t at, const void *data, size_t size) {
  memcpy(out + at, data, size);
  return at + size;
}

static size_t put_number(uint8_t *out, size_t at, uint64_t number, int size) {
  for (int i = 0; i < size; i++)
    out[at++] = (uint8_t)(number >> (8 * i));
  return at;
}

/* The fields that both headers of an entry share, from the version on. */
static size_t put_fields(uint8_t *out, size_t at, const char *name, size_t size) {
  at = put_number(out, at, 20, 2 + 2 + 2);
  at = put_number(out, at, 0, 2 + 2 + 4);
  at = put_number(out, at, size, 4);
  at = put_number(out, at, size, 4);
  at = put_number(out, at, strlen(name), 2);
  return put_number(out, at, 0, 2);
}

static size_t wrap(uint8_t *out, const uint8_t *pickle, size_t pickle_size) {
  static const uint8_t storage[64];
  const char *const names[2] = {"t/data.pkl", "t/data/0"};
  const void *const contents[2] = {pickle, storage};
  const size_t sizes[2] = {pickle_size, sizeof storage};
  size_t at = 0, starts[2], directory;
  for (int i = 0; i < 2; i++) {
    starts[i] = at;
    at = put_number(out, at, 0x04034b50, 4);
    at = put_fields(out, at, names[i], sizes[i]);
    at = put(out, at, names[i], strlen(names[i]));
    at = put(out, at, contents[i], sizes[i]);
  }
  directory = at;
  for (int i = 0; i < 2; i++) {
    at = put_number(out, at, 0x02014b50, 4);
    at = put_number(out, at, 20, 2);
    at = put_fields(out, at, names[i], sizes[i]);
    at = put_number(out, at, 0, 8);
    at = put_number(out, at, 0, 2);
    at = put_number(out, at, starts[i], 4);
    at = put(out, at, names[i], strlen(names[i]));
  }
  size_t size = at - directory;
  at = put_number(out, at, 0x06054b50, 8);
  at = put_number(out, at, 2, 2);
  at = put_number(out, at, 2, 2);
  at = put_number(out, at, size, 4);
  at = put_number(out, at, directory, 4);
  return put_number(out, at, 0, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size && data[0] == 'P') {
    open_and_use(data, size);
    return 0;
  }
  uint8_t *file = malloc(size + 1024);
  if (!file)
    return 0;
  open_and_use(file, wrap(file, data, size));
  free(file);
  return 0;
}
