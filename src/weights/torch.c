/* What torch.save writes since 1.6: a zip archive "<root>/data.pkl", the pickled state dict, and one entry
 * "<root>/data/<key>" a storage, as it lies in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "weights/pickle.h"
#include "weights/zip.h"

struct reader {
  struct container *container;
  int file;
  const struct zip *zip;
  const char *root; /* [root_length], with the '/' */
  size_t root_length;
};

/* An entry "<root>/<folder><key>"; NULL when there is none. */
static const struct zip_entry *find_entry(const struct reader *reader, const char *folder, const char *key,
                                          size_t key_length) {
  char name[512];
  size_t folder_length = strlen(folder), length = reader->root_length + folder_length + key_length;
  if (length > sizeof name)
    return NULL;
  memcpy(name, reader->root, reader->root_length);
  memcpy(name + reader->root_length, folder, folder_length);
  memcpy(name + reader->root_length + folder_length, key, key_length);
  return zip_find(reader->zip, name, length);
}

/* The last element that the tensor touches lies at offset + sum (dim - 1) * stride. */
static bool is_inside(const struct pickled_tensor *tensor) {
  int64_t last = tensor->offset, way;
  if (last < 0)
    return false;
  for (int i = 0; i < tensor->rank; i++)
    if (tensor->strides[i] < 0 || __builtin_mul_overflow(tensor->dims[i] - 1, tensor->strides[i], &way) ||
        __builtin_add_overflow(last, way, &last))
      return false;
  return last < tensor->storage_elements;
}

/* A dimension of 1 may have any stride. */
static bool is_contiguous(const struct pickled_tensor *tensor) {
  int64_t stride = 1;
  for (int i = tensor->rank - 1; i >= 0; i--) {
    if (tensor->dims[i] != 1 && tensor->strides[i] != stride)
      return false;
    stride *= tensor->dims[i]; /* cannot overflow: tensor_bytes() has been through it */
  }
  return true;
}

static sam3_status add_tensor(void *user, const struct pickled_tensor *pickled, struct sam3_error *err) {
  const struct reader *reader = user;
  const char *path = reader->container->files[reader->file].path;
  struct shown shown = show(pickled->name, pickled->name_length);
  struct stored_tensor tensor = {.type = pickled->type, .rank = pickled->rank, .file = reader->file};
  uint64_t storage_bytes;
  memcpy(tensor.dims, pickled->dims, sizeof tensor.dims);
  if (!tensor_bytes(tensor.type, tensor.rank, tensor.dims, &tensor.bytes) ||
      !tensor_bytes(tensor.type, 1, &pickled->storage_elements, &storage_bytes))
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has an impossible shape", path, shown.text);
  const struct zip_entry *entry = find_entry(reader, "data/", pickled->storage, pickled->storage_length);
  if (!entry)
    return fail(err, SAM3_ERR_FORMAT, "%s: the data of tensor '%s' is missing", path, shown.text);
  if (entry->size != storage_bytes)
    return fail(err, SAM3_ERR_FORMAT, "%s: the data of tensor '%s' has %llu bytes instead of %llu", path, shown.text,
                (unsigned long long)entry->size, (unsigned long long)storage_bytes);
  tensor.data = entry->data;
  tensor.contiguous = true;
  if (tensor.bytes) { /* a tensor without elements may say what it likes about where they are */
    if (!is_inside(pickled))
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' reaches out of its data", path, shown.text);
    tensor.data += pickled->offset * tensor.type->size;
    tensor.contiguous = is_contiguous(pickled);
  }
  return container_add(reader->container, &tensor, pickled->name, pickled->name_length, err);
}

static sam3_status read_archive(struct reader *reader, struct sam3_error *err) {
  static const char pickle_name[] = "/data.pkl";
  const struct mapped_file *map = &reader->container->files[reader->file];
  const struct zip_entry *pickle = NULL;
  for (size_t i = 0; i < reader->zip->n_entries; i++) {
    const struct zip_entry *entry = &reader->zip->entries[i];
    const char *slash = memchr(entry->name, '/', entry->name_length);
    size_t root = slash ? (size_t)(slash - entry->name) : 0;
    if (!slash || entry->name_length - root != sizeof pickle_name - 1 ||
        memcmp(slash, pickle_name, sizeof pickle_name - 1))
      continue;
    if (pickle)
      return fail(err, SAM3_ERR_FORMAT, "%s: more than one data.pkl", map->path);
    pickle = entry;
    reader->root = entry->name;
    reader->root_length = root + 1;
  }
  if (!pickle)
    return fail(err, SAM3_ERR_FORMAT, "%s: a zip archive without data.pkl: not from torch.save", map->path);
  const struct zip_entry *order = find_entry(reader, "", "byteorder", 9);
  if (order && (order->size != 6 || memcmp(order->data, "little", 6)))
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: byte order '%s'; we read 'little'", map->path,
                show(order->data, order->size < 20 ? order->size : 20).text);
  TRY(pickle_read_state_dict(pickle->data, pickle->size, map->path, add_tensor, reader, err));
  if (!reader->container->n_tensors)
    return fail(err, SAM3_ERR_FORMAT, "%s: no tensors in its state dict", map->path);
  return SAM3_OK;
}

sam3_status torch_read(struct container *container, int file, struct sam3_error *err) {
  struct zip zip;
  TRY(zip_read(&container->files[file], &zip, err));
  struct reader reader = {.container = container, .file = file, .zip = &zip};
  sam3_status status = read_archive(&reader, err);
  free(zip.entries);
  return status;
}
