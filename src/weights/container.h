/* What every container format is read into: mapped files and the tensors that lie in them. */
#ifndef SAM3_WEIGHTS_CONTAINER_H
#define SAM3_WEIGHTS_CONTAINER_H

#include "sam3.h"

#define STORED_MAX_RANK 8
#define STORED_MAX_NAME 240 /* bytes of a tensor's name */
#define CONTAINER_MAX_TENSORS 50000
#define CONTAINER_MAX_FILES 1000

struct element_type {
  const char *name;          /* in safetensors */
  const char *torch_storage; /* in pickles, module "torch"; NULL: does not occur there */
  int size;                  /* bytes */
  int dtype;                 /* a sam3_dtype, or -1: nothing that the model computes with */
};

/* NULL when there is none of that name. */
const struct element_type *element_type_by_name(const char *name);
const struct element_type *element_type_by_storage(const char *name, size_t length);

struct stored_tensor {
  char *name; /* as in the file, printable UTF-8 */
  const struct element_type *type;
  int rank;
  int64_t dims[STORED_MAX_RANK];
  bool contiguous;           /* row-major without gaps */
  const unsigned char *data; /* in the map */
  uint64_t bytes;            /* product of dims and the element size */
  int file;
  bool used;
  void *copy; /* an aligned copy, made when it was needed */
};

struct mapped_file {
  char *path;
  const unsigned char *data;
  size_t size;
};

struct container {
  struct mapped_file *files;
  size_t n_files;
  struct stored_tensor *tensors;
  size_t n_tensors, capacity;
};

/* Maps `path` as the container's last file. SAM3_ERR_IO, _FORMAT (empty, not a regular file), _MEMORY. */
sam3_status container_map(struct container *container, const char *path, struct sam3_error *err);

/* The bytes of a tensor of that type and shape. False when a dimension is negative or the product too large. */
bool tensor_bytes(const struct element_type *type, int rank, const int64_t *dims, uint64_t *bytes);

/* Appends a copy of `tensor` named by `name` [length], which must be printable and not too long. */
sam3_status container_add(struct container *container, const struct stored_tensor *tensor, const char *name,
                          size_t length, struct sam3_error *err);

/* Sorts the tensors by name, for container_find(), and refuses names that occur twice. */
sam3_status container_sort(struct container *container, struct sam3_error *err);

/* Binary search; NULL when there is none. */
struct stored_tensor *container_find(const struct container *container, const char *name);
bool container_has_prefix(const struct container *container, const char *prefix);

void container_free(struct container *container);

/* Foreign text for a message: at most 79 characters, whatever is not printable ASCII as '?'. */
struct shown {
  char text[80];
};
struct shown show(const void *text, size_t length);

/* The formats: each reads the container's file `file` and adds its tensors. */
sam3_status safetensors_read(struct container *container, int file, struct sam3_error *err);
sam3_status safetensors_read_sharded(struct container *container, const char *directory, const char *index_path,
                                     struct sam3_error *err);
sam3_status torch_read(struct container *container, int file, struct sam3_error *err);

/* Little-endian numbers at an unaligned place. */
static inline uint32_t read_u16(const unsigned char *p) {
  return p[0] | (uint32_t)p[1] << 8;
}
static inline uint32_t read_u32(const unsigned char *p) {
  return read_u16(p) | read_u16(p + 2) << 16;
}
static inline uint64_t read_u64(const unsigned char *p) {
  return read_u32(p) | (uint64_t)read_u32(p + 4) << 32;
}

#endif
