#include "weights/write.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"

sam3_status given_add(struct given_list *list, const char *name, const struct tensor_view *view,
                      struct sam3_error *err) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 256;
    struct given *items = mem_resize(list->items, capacity, sizeof *items);
    if (!items)
      return fail_memory(err, capacity * sizeof *items, "the list of tensors");
    list->items = items;
    list->capacity = capacity;
  }
  char *copy = mem_strdup(name);
  if (!copy)
    return fail_memory(err, strlen(name) + 1, name);
  list->items[list->count++] = (struct given){copy, *view};
  return SAM3_OK;
}

void given_free(struct given_list *list) {
  for (size_t i = 0; i < list->count; i++)
    free(list->items[i].name);
  free(list->items);
}

static size_t element_size(sam3_dtype dtype) {
  return dtype == SAM3_F32 ? 4 : 2;
}

static uint64_t elements(const struct tensor_view *view) {
  uint64_t count = 1;
  for (int i = 0; i < view->rank; i++)
    count *= (uint64_t)view->dims[i];
  return count;
}

static float load(const struct tensor_view *view, uint64_t i) {
  switch (view->dtype) {
  case SAM3_BF16:
    return float_from_bf16(((const uint16_t *)view->data)[i]);
  case SAM3_F16:
    return float_from_f16(((const uint16_t *)view->data)[i]);
  default:
    return ((const float *)view->data)[i];
  }
}

/* Elements [from, from + count) as `dtype` to `to`. False when a finite one became infinite. */
static bool convert(const struct tensor_view *view, uint64_t from, size_t count, sam3_dtype dtype, void *to) {
  bool fits = true;
  for (size_t i = 0; i < count; i++) {
    float value = load(view, from + i);
    if (dtype == SAM3_F32) {
      ((float *)to)[i] = value;
      continue;
    }
    uint16_t half = dtype == SAM3_BF16 ? bf16_from_float(value) : f16_from_float(value);
    float stored = dtype == SAM3_BF16 ? float_from_bf16(half) : float_from_f16(half);
    fits &= isinf(stored) == isinf(value);
    ((uint16_t *)to)[i] = half;
  }
  return fits;
}

#define CHUNK 16384 /* elements converted at a time */

static sam3_status write_tensor(const struct given *tensor, sam3_dtype dtype, FILE *file, struct sam3_error *err) {
  uint64_t total = elements(&tensor->view);
  if (tensor->view.dtype == dtype) {
    fwrite(tensor->view.data, element_size(dtype), total, file);
    return SAM3_OK;
  }
  float buffer[CHUNK];
  for (uint64_t at = 0; at < total; at += CHUNK) {
    size_t count = total - at < CHUNK ? (size_t)(total - at) : CHUNK;
    if (!convert(&tensor->view, at, count, dtype, buffer))
      return fail(err, SAM3_ERR_UNSUPPORTED, "tensor '%s': a number is too large for %s", tensor->name,
                  sam3_dtype_name(dtype));
    fwrite(buffer, element_size(dtype), count, file);
  }
  return SAM3_OK;
}

/* One entry of the header. Names are the model's own, without characters that JSON escapes. */
static uint64_t print_entry(FILE *file, const struct given *tensor, sam3_dtype dtype, uint64_t offset) {
  static const char *const names[] = {[SAM3_F32] = "F32", [SAM3_BF16] = "BF16", [SAM3_F16] = "F16"};
  uint64_t end = offset + elements(&tensor->view) * element_size(dtype);
  fprintf(file, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensor->name, names[dtype]);
  for (int i = 0; i < tensor->view.rank; i++)
    fprintf(file, "%s%" PRId64, i ? "," : "", tensor->view.dims[i]);
  fprintf(file, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, end);
  return end;
}

/* The safetensors format: 8 bytes little-endian length of a JSON header, the header padded with spaces so that data
 * is aligned, the data. The length is filled in afterwards. */
static void write_header(const struct given *const *tensors, size_t count, sam3_dtype dtype, FILE *file) {
  fwrite("\0\0\0\0\0\0\0\0", 1, 8, file);
  fputs("{\"__metadata__\":{\"format\":\"pt\"}", file);
  uint64_t offset = 0;
  for (size_t i = 0; i < count; i++)
    offset = print_entry(file, tensors[i], dtype, offset);
  fputc('}', file);
  while (ftello(file) % 64 > 0)
    fputc(' ', file);
  uint64_t length = (uint64_t)ftello(file) - 8;
  unsigned char bytes[8];
  for (int i = 0; i < 8; i++)
    bytes[i] = (unsigned char)(length >> 8 * i);
  fseeko(file, 0, SEEK_SET);
  fwrite(bytes, 1, 8, file);
  fseeko(file, 0, SEEK_END);
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const struct given *const *)a)->name, (*(const struct given *const *)b)->name);
}

static sam3_status write_all(const struct given **tensors, size_t count, const char *path, sam3_dtype dtype,
                             struct sam3_error *err) {
  FILE *file = fopen(path, "wb");
  if (!file)
    return fail(err, SAM3_ERR_IO, "%s: %s", path, strerror(errno));
  write_header(tensors, count, dtype, file);
  sam3_status status = SAM3_OK;
  for (size_t i = 0; i < count && status == SAM3_OK && !ferror(file); i++)
    status = write_tensor(tensors[i], dtype, file, err);
  bool written = !ferror(file);
  written = fclose(file) == 0 && written;
  if (status == SAM3_OK && !written)
    status = fail(err, SAM3_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
  return status;
}

sam3_status given_write(const struct given_list *list, const char *path, sam3_dtype dtype, struct sam3_error *err) {
  const struct given **tensors = mem_zeroed(list->count, sizeof *tensors);
  if (!tensors)
    return fail_memory(err, list->count * sizeof *tensors, "the list of tensors");
  for (size_t i = 0; i < list->count; i++)
    tensors[i] = &list->items[i];
  qsort(tensors, list->count, sizeof *tensors, by_name);
  size_t count = 0; /* a tensor asked for twice is written once */
  for (size_t i = 0; i < list->count; i++)
    if (!count || strcmp(tensors[count - 1]->name, tensors[i]->name) != 0)
      tensors[count++] = tensors[i];
  sam3_status status = write_all(tensors, count, path, dtype, err);
  free(tensors);
  return status;
}
