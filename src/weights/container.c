#include "weights/container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

/* ------------------------------------------------------------------------------- element types */

static const struct element_type element_types[] = {
    {"F32", "FloatStorage", 4, SAM3_F32},
    {"F16", "HalfStorage", 2, SAM3_F16},
    {"BF16", "BFloat16Storage", 2, SAM3_BF16},
    {"F64", "DoubleStorage", 8, -1},
    {"I64", "LongStorage", 8, -1},
    {"I32", "IntStorage", 4, -1},
    {"I16", "ShortStorage", 2, -1},
    {"I8", "CharStorage", 1, -1},
    {"U8", "ByteStorage", 1, -1},
    {"BOOL", "BoolStorage", 1, -1},
    {"C64", "ComplexFloatStorage", 8, -1},
    {"C128", "ComplexDoubleStorage", 16, -1},
    {"U64", NULL, 8, -1},
    {"U32", NULL, 4, -1},
    {"U16", NULL, 2, -1},
    {"F8_E4M3", NULL, 1, -1},
    {"F8_E5M2", NULL, 1, -1},
    {"F8_E8M0", NULL, 1, -1},
};

const struct element_type *element_type_by_name(const char *name) {
  for (size_t i = 0; i < sizeof element_types / sizeof *element_types; i++)
    if (!strcmp(element_types[i].name, name))
      return &element_types[i];
  return NULL;
}

const struct element_type *element_type_by_storage(const char *name, size_t length) {
  for (size_t i = 0; i < sizeof element_types / sizeof *element_types; i++) {
    const char *storage = element_types[i].torch_storage;
    if (storage && strlen(storage) == length && !memcmp(storage, name, length))
      return &element_types[i];
  }
  return NULL;
}

bool tensor_bytes(const struct element_type *type, int rank, const int64_t *dims, uint64_t *bytes) {
  uint64_t product = (uint64_t)type->size;
  for (int i = 0; i < rank; i++)
    if (dims[i] < 0 || __builtin_mul_overflow(product, (uint64_t)dims[i], &product))
      return false;
  *bytes = product;
  return product <= INT64_MAX;
}

/* --------------------------------------------------------------------------------------- files */

static sam3_status map_descriptor(struct mapped_file *file, int fd, struct sam3_error *err) {
  struct stat st;
  if (fstat(fd, &st))
    return fail(err, SAM3_ERR_IO, "%s: cannot read its size: %s", file->path, strerror(errno));
  if (!S_ISREG(st.st_mode))
    return fail(err, SAM3_ERR_IO, "%s: not a regular file", file->path);
  if (st.st_size == 0)
    return fail(err, SAM3_ERR_FORMAT, "%s: empty", file->path);
  void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED)
    return fail(err, SAM3_ERR_IO, "%s: cannot map %lld bytes: %s", file->path, (long long)st.st_size, strerror(errno));
  file->data = data;
  file->size = (size_t)st.st_size;
  return SAM3_OK;
}

sam3_status container_map(struct container *container, const char *path, struct sam3_error *err) {
  struct mapped_file *files = mem_resize(container->files, container->n_files + 1, sizeof *files);
  if (!files)
    return fail_memory(err, sizeof *files, path);
  container->files = files;
  struct mapped_file *file = &files[container->n_files];
  *file = (struct mapped_file){.path = mem_strdup(path)};
  if (!file->path)
    return fail_memory(err, strlen(path) + 1, path);
  container->n_files++;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail(err, SAM3_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
  sam3_status status = map_descriptor(file, fd, err);
  close(fd);
  return status;
}

/* ------------------------------------------------------------------------------------- tensors */

struct shown show(const void *text, size_t length) {
  struct shown shown;
  const unsigned char *bytes = text;
  size_t n = length < sizeof shown.text ? length : sizeof shown.text - 1;
  for (size_t i = 0; i < n; i++)
    shown.text[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '?';
  shown.text[n] = '\0';
  return shown;
}

/* Names go into messages and listings, on terminals too. */
static bool is_printable(const char *name, size_t length) {
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)name[i] < 0x20 || (unsigned char)name[i] == 0x7f)
      return false;
  return length > 0;
}

sam3_status container_add(struct container *container, const struct stored_tensor *tensor, const char *name,
                          size_t length, struct sam3_error *err) {
  const char *path = container->files[tensor->file].path;
  if (length > STORED_MAX_NAME || !is_printable(name, length))
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has an empty, overlong or unprintable name", path,
                show(name, length).text);
  if (container->n_tensors == CONTAINER_MAX_TENSORS)
    return fail(err, SAM3_ERR_LIMIT, "%s: more than %d tensors", path, CONTAINER_MAX_TENSORS);
  if (container->n_tensors == container->capacity) {
    size_t capacity = container->capacity ? 2 * container->capacity : 256;
    struct stored_tensor *tensors = mem_resize(container->tensors, capacity, sizeof *tensors);
    if (!tensors)
      return fail_memory(err, capacity * sizeof *tensors, "the list of tensors");
    container->tensors = tensors;
    container->capacity = capacity;
  }
  char *copy = mem_alloc(length + 1);
  if (!copy)
    return fail_memory(err, length + 1, "a tensor's name");
  memcpy(copy, name, length);
  copy[length] = '\0';
  struct stored_tensor *added = &container->tensors[container->n_tensors++];
  *added = *tensor;
  added->name = copy;
  return SAM3_OK;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const struct stored_tensor *)a)->name, ((const struct stored_tensor *)b)->name);
}

sam3_status container_sort(struct container *container, struct sam3_error *err) {
  if (container->n_tensors)
    qsort(container->tensors, container->n_tensors, sizeof *container->tensors, compare_names);
  for (size_t i = 1; i < container->n_tensors; i++) {
    const struct stored_tensor *one = &container->tensors[i - 1], *two = one + 1;
    if (!strcmp(one->name, two->name))
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' occurs twice", container->files[two->file].path, two->name);
  }
  return SAM3_OK;
}

/* The first tensor whose name is not less than `name`. */
static size_t lower_bound(const struct container *container, const char *name) {
  size_t low = 0, high = container->n_tensors;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (strcmp(container->tensors[middle].name, name) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

struct stored_tensor *container_find(const struct container *container, const char *name) {
  size_t at = lower_bound(container, name);
  return at < container->n_tensors && !strcmp(container->tensors[at].name, name) ? &container->tensors[at] : NULL;
}

bool container_has_prefix(const struct container *container, const char *prefix) {
  size_t at = lower_bound(container, prefix);
  return at < container->n_tensors && !strncmp(container->tensors[at].name, prefix, strlen(prefix));
}

void container_free(struct container *container) {
  for (size_t i = 0; i < container->n_tensors; i++) {
    free(container->tensors[i].name);
    free(container->tensors[i].copy);
  }
  free(container->tensors);
  for (size_t i = 0; i < container->n_files; i++) {
    if (container->files[i].data)
      munmap((void *)container->files[i].data, container->files[i].size);
    free(container->files[i].path);
  }
  free(container->files);
}
