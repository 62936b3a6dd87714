/* safetensors: 8 bytes with the header's length, a JSON header, the data of all tensors without holes.
 * https://github.com/huggingface/safetensors, "Format". */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "weights/container.h"

#define MAX_HEADER (4u << 20) /* 1,500 tensors take 200 kB */

/* One entry of the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}. */
static sam3_status read_entry(struct container *container, int file, const char *name, json_t *entry, uint64_t base,
                              struct sam3_error *err) {
  const struct mapped_file *map = &container->files[file];
  struct shown shown = show(name, strlen(name));
  const char *dtype = json_string_value(json_object_get(entry, "dtype"));
  json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
  if (!dtype || !json_is_array(shape) || json_array_size(offsets) != 2)
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' lacks a proper dtype, shape or data_offsets", map->path,
                shown.text);
  struct stored_tensor tensor = {.type = element_type_by_name(dtype), .file = file, .contiguous = true};
  if (!tensor.type)
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: tensor '%s' has the unknown dtype '%s'", map->path, shown.text,
                show(dtype, strlen(dtype)).text);
  if (json_array_size(shape) > STORED_MAX_RANK)
    return fail(err, SAM3_ERR_LIMIT, "%s: tensor '%s' has %zu dimensions, more than %d", map->path, shown.text,
                json_array_size(shape), STORED_MAX_RANK);
  for (size_t i = 0; i < json_array_size(shape); i++) {
    json_t *dim = json_array_get(shape, i);
    tensor.dims[tensor.rank++] = json_is_integer(dim) ? json_integer_value(dim) : -1;
  }
  if (!tensor_bytes(tensor.type, tensor.rank, tensor.dims, &tensor.bytes))
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has an impossible shape", map->path, shown.text);
  json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
  int64_t begin = json_is_integer(first) ? json_integer_value(first) : -1;
  int64_t end = json_is_integer(last) ? json_integer_value(last) : -1;
  if (begin < 0 || end < begin || (uint64_t)end > map->size - base)
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has data_offsets outside the file: it is truncated or damaged",
                map->path, shown.text);
  if ((uint64_t)(end - begin) != tensor.bytes)
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has %lld bytes of data; its shape needs %llu", map->path,
                shown.text, (long long)(end - begin), (unsigned long long)tensor.bytes);
  tensor.data = map->data + base + begin;
  return container_add(container, &tensor, name, strlen(name), err);
}

static sam3_status read_entries(struct container *container, int file, json_t *header, uint64_t base,
                                struct sam3_error *err) {
  const char *path = container->files[file].path, *name;
  json_t *entry;
  if (!json_is_object(header))
    return fail(err, SAM3_ERR_FORMAT, "%s: the header is not a JSON object", path);
  json_object_foreach(header, name, entry) {
    if (strcmp(name, "__metadata__")) {
      TRY(read_entry(container, file, name, entry, base, err));
      continue;
    }
    const char *key;
    json_t *value;
    if (!json_is_object(entry))
      return fail(err, SAM3_ERR_FORMAT, "%s: __metadata__ is not a JSON object", path);
    json_object_foreach(entry, key, value) {
      if (!json_is_string(value))
        return fail(err, SAM3_ERR_FORMAT, "%s: __metadata__ '%s' is not a string", path, show(key, strlen(key)).text);
    }
  }
  return SAM3_OK;
}

static int compare_places(const void *a, const void *b) {
  const struct stored_tensor *x = a, *y = b;
  if (x->data != y->data)
    return x->data < y->data ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The tensors from `first` on must fill the file from `base` to its end, one behind the other. */
static sam3_status check_no_holes(struct container *container, int file, size_t first, uint64_t base,
                                  struct sam3_error *err) {
  const struct mapped_file *map = &container->files[file];
  const unsigned char *at = map->data + base;
  if (container->n_tensors > first)
    qsort(container->tensors + first, container->n_tensors - first, sizeof *container->tensors, compare_places);
  for (size_t i = first; i < container->n_tensors; i++) {
    const struct stored_tensor *tensor = &container->tensors[i];
    if (tensor->data != at)
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' %s", map->path, tensor->name,
                  tensor->data < at ? "overlaps another one" : "has a hole before it");
    at += tensor->bytes;
  }
  if (at != map->data + map->size)
    return fail(err, SAM3_ERR_FORMAT, "%s: %zu bytes behind the last tensor", map->path,
                (size_t)(map->data + map->size - at));
  return SAM3_OK;
}

sam3_status safetensors_read(struct container *container, int file, struct sam3_error *err) {
  const struct mapped_file *map = &container->files[file];
  uint64_t length = map->size < 8 ? 0 : read_u64(map->data);
  if (map->size < 8 || length > map->size - 8)
    return fail(err, SAM3_ERR_FORMAT, "%s: shorter than its header says: truncated, or not safetensors", map->path);
  if (length > MAX_HEADER)
    return fail(err, SAM3_ERR_LIMIT, "%s: a header of %llu bytes, more than %u", map->path, (unsigned long long)length,
                MAX_HEADER);
  json_t *header;
  TRY(json_parse((const char *)map->data + 8, length, map->path, &header, err));
  size_t first = container->n_tensors;
  sam3_status status = read_entries(container, file, header, 8 + length, err);
  json_decref(header);
  return status == SAM3_OK ? check_no_holes(container, file, first, 8 + length, err) : status;
}

/* ------------------------------------------------------------------------------------- shards */

/* A plain file name, of printable ASCII and not overlong: shards lie beside the index. */
static bool is_shard_name(const char *name) {
  return *name && *name != '.' && !strchr(name, '/') && !strcmp(show(name, strlen(name)).text, name);
}

/* The name of a file without its directory. */
static const char *file_name(const struct mapped_file *file) {
  return strrchr(file->path, '/') + 1;
}

/* Maps and reads the shard, unless that has been done. */
static sam3_status read_shard(struct container *container, const char *directory, const char *shard,
                              struct sam3_error *err) {
  for (size_t i = 0; i < container->n_files; i++)
    if (!strcmp(file_name(&container->files[i]), shard))
      return SAM3_OK;
  if (container->n_files == CONTAINER_MAX_FILES)
    return fail(err, SAM3_ERR_LIMIT, "%s: more than %d shards", directory, CONTAINER_MAX_FILES);
  size_t size = strlen(directory) + strlen(shard) + 2;
  char *path = mem_alloc(size);
  if (!path)
    return fail_memory(err, size, "a path");
  snprintf(path, size, "%s/%s", directory, shard);
  sam3_status status = container_map(container, path, err);
  free(path);
  return status == SAM3_OK ? safetensors_read(container, (int)container->n_files - 1, err) : status;
}

/* The shards must hold exactly the tensors that the map gives them. */
static sam3_status check_map(const struct container *container, json_t *map, const char *index_path,
                             struct sam3_error *err) {
  const char *name;
  json_t *shard;
  json_object_foreach(map, name, shard) {
    const struct stored_tensor *tensor = container_find(container, name);
    if (!tensor || strcmp(file_name(&container->files[tensor->file]), json_string_value(shard)))
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' is not in %s, where the index has it", index_path,
                  show(name, strlen(name)).text, json_string_value(shard));
  }
  for (size_t i = 0; i < container->n_tensors; i++)
    if (!json_object_get(map, container->tensors[i].name))
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' of %s is not in the index", index_path,
                  container->tensors[i].name, file_name(&container->files[container->tensors[i].file]));
  return SAM3_OK;
}

static sam3_status read_index(struct container *container, const char *directory, const char *index_path, json_t *index,
                              struct sam3_error *err) {
  json_t *map = json_object_get(index, "weight_map"), *shard;
  const char *name;
  if (!json_is_object(map) || !json_object_size(map))
    return fail(err, SAM3_ERR_FORMAT, "%s: no weight_map", index_path);
  json_object_foreach(map, name, shard) {
    const char *file = json_string_value(shard);
    if (!file || !is_shard_name(file))
      return fail(err, SAM3_ERR_FORMAT,
                  "%s: tensor '%s': the shard must be the name of a file beside the index, not '%s'", index_path,
                  show(name, strlen(name)).text, file ? show(file, strlen(file)).text : "?");
    TRY(read_shard(container, directory, file, err));
  }
  TRY(container_sort(container, err));
  return check_map(container, map, index_path, err);
}

sam3_status safetensors_read_sharded(struct container *container, const char *directory, const char *index_path,
                                     struct sam3_error *err) {
  json_t *index;
  TRY(json_parse_file(index_path, MAX_HEADER, &index, err));
  sam3_status status = read_index(container, directory, index_path, index, err);
  json_decref(index);
  return status;
}
