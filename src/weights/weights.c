#include "weights/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "weights/container.h"
#include "weights/names.h"
#include "weights/write.h"

struct weights {
  struct container container;
  struct scheme scheme;
  char *directory; /* NULL for a lone file */
  const char *format;
  uint64_t used_bytes;
  struct given_list given;
};

static const char safetensors_format[] = "safetensors", torch_format[] = "pytorch";

/* ------------------------------------------------------------------------------------- opening */

/* Reads the container's only file, whichever format it has. */
static sam3_status read_file(struct weights *w, const char *path, struct sam3_error *err) {
  static const char lfs[] = "version https://git-lfs";
  TRY(container_map(&w->container, path, err));
  const struct mapped_file *file = &w->container.files[0];
  if (file->size >= 4 && !memcmp(file->data, "PK\3\4", 4)) {
    w->format = torch_format;
    return torch_read(&w->container, 0, err);
  }
  if (file->size > 8 && file->data[8] == '{') {
    w->format = safetensors_format;
    return safetensors_read(&w->container, 0, err);
  }
  if (file->size >= 2 && file->data[0] == 0x80 && file->data[1] <= 5)
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: a bare pickle, perhaps from PyTorch before 1.6: save it again", path);
  if (file->size >= sizeof lfs - 1 && !memcmp(file->data, lfs, sizeof lfs - 1))
    return fail(err, SAM3_ERR_FORMAT, "%s: only a Git LFS pointer; fetch the file itself with 'git lfs pull'", path);
  return fail(err, SAM3_ERR_FORMAT, "%s: neither safetensors nor a file of torch.save", path);
}

/* The first of the checkpoints we know that the directory has. */
static sam3_status read_directory(struct weights *w, const char *path, struct sam3_error *err) {
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "sam3.pt"};
  char file[4096];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (snprintf(file, sizeof file, "%s/%s", path, names[i]) >= (int)sizeof file)
      return fail(err, SAM3_ERR_ARGUMENT, "%.300s...: the path is too long", path);
    if (access(file, F_OK))
      continue;
    if (i != 1)
      return read_file(w, file, err);
    w->format = safetensors_format;
    return safetensors_read_sharded(&w->container, path, file, err);
  }
  return fail(err, SAM3_ERR_IO, "%s: a directory with neither %s nor %s nor %s", path, names[0], names[1], names[2]);
}

/* How this file names things is told by names that it has. */
static struct scheme recognise_scheme(const struct container *container) {
  static const struct {
    const char *sign; /* some tensor begins so */
    struct scheme scheme;
  } known[] = {
      {"detector_model.", {.prefix = "detector_model."}},
      {"detector.", {.prefix = "detector.", .official = true}},
      {"backbone.", {.prefix = "", .official = true}},
      {"", {.prefix = ""}},
  };
  size_t i = 0;
  while (known[i].sign[0] && !container_has_prefix(container, known[i].sign))
    i++;
  struct scheme scheme = known[i].scheme;
  char sign[64];
  snprintf(sign, sizeof sign, "%stext_encoder.encoder.", scheme.prefix);
  scheme.short_text = container_has_prefix(container, sign);
  return scheme;
}

static sam3_status read_all(struct weights *w, const char *path, struct sam3_error *err) {
  struct stat st;
  if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
    w->directory = mem_strdup(path);
    if (!w->directory)
      return fail_memory(err, strlen(path) + 1, "a path");
    TRY(read_directory(w, path, err));
  } else {
    TRY(read_file(w, path, err));
  }
  TRY(container_sort(&w->container, err));
  w->scheme = recognise_scheme(&w->container);
  return SAM3_OK;
}

sam3_status weights_open(const char *path, struct weights **out, struct sam3_error *err) {
  *out = NULL;
  struct weights *w = mem_zeroed(1, sizeof *w);
  if (!w)
    return fail_memory(err, sizeof *w, path);
  sam3_status status = read_all(w, path, err);
  if (status != SAM3_OK) {
    weights_close(w);
    return status;
  }
  *out = w;
  return SAM3_OK;
}

void weights_close(struct weights *w) {
  if (!w)
    return;
  container_free(&w->container);
  given_free(&w->given);
  free(w->directory);
  free(w);
}

/* ------------------------------------------------------------------------------------- finding */

/* "[2, 3]" */
struct shape_text {
  char text[200];
};
static struct shape_text show_shape(int rank, const int64_t *dims) {
  struct shape_text shape = {.text = "["};
  size_t n = 1;
  for (int i = 0; i < rank; i++)
    n += (size_t)snprintf(shape.text + n, sizeof shape.text - n, "%s%" PRId64, i ? ", " : "", dims[i]);
  snprintf(shape.text + n, sizeof shape.text - n, "]");
  return shape;
}

static const char *path_of(const struct weights *w, const struct stored_tensor *tensor) {
  return w->container.files[tensor->file].path;
}

/* Finds the stored tensor and where in it the wanted one lies; `dims` [tensor's rank] is the wanted one's shape. */
static sam3_status find(const struct weights *w, const char *name, struct place *place, struct stored_tensor **out,
                        int64_t dims[STORED_MAX_RANK], struct sam3_error *err) {
  bool known = names_place(&w->scheme, name, place);
  struct stored_tensor *tensor = known ? container_find(&w->container, place->name) : NULL;
  if (!tensor)
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' is missing",
                w->directory ? w->directory : w->container.files[0].path, known ? place->name : name);
  memcpy(dims, tensor->dims, sizeof tensor->dims);
  if (place->third >= 0) {
    if (tensor->rank < 1 || dims[0] % 3)
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has shape %s; it should hold three parts, q, k and v",
                  path_of(w, tensor), tensor->name, show_shape(tensor->rank, dims).text);
    dims[0] /= 3;
  }
  if (place->class_row) {
    if (tensor->rank != 3 || dims[0] != 1 || dims[1] < 1)
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has shape %s; it should be [1, 1 + positions, width]",
                  path_of(w, tensor), tensor->name, show_shape(tensor->rank, dims).text);
    dims[1]--;
  }
  *out = tensor;
  return SAM3_OK;
}

sam3_status weights_shape(const struct weights *w, const char *name, int *rank, int64_t dims[TENSOR_MAX_RANK],
                          struct sam3_error *err) {
  struct place place;
  struct stored_tensor *tensor = NULL;
  int64_t found[STORED_MAX_RANK];
  TRY(find(w, name, &place, &tensor, found, err));
  if (tensor->rank > TENSOR_MAX_RANK)
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' has %d dimensions", path_of(w, tensor), tensor->name,
                tensor->rank);
  *rank = tensor->rank;
  memcpy(dims, found, TENSOR_MAX_RANK * sizeof *dims);
  return SAM3_OK;
}

/* Elements are read as numbers of their type, so they must lie where such numbers may. */
static sam3_status align(struct stored_tensor *tensor, struct sam3_error *err) {
  if ((uintptr_t)tensor->data % (uintptr_t)tensor->type->size == 0 || tensor->copy)
    return SAM3_OK;
  tensor->copy = mem_alloc(tensor->bytes);
  if (!tensor->copy)
    return fail_memory(err, tensor->bytes, tensor->name);
  memcpy(tensor->copy, tensor->data, tensor->bytes);
  return SAM3_OK;
}

sam3_status weights_get(struct weights *w, const char *name, int rank, const int64_t *dims, struct tensor_view *out,
                        struct sam3_error *err) {
  struct place place;
  struct stored_tensor *tensor = NULL;
  int64_t found[STORED_MAX_RANK];
  *out = (struct tensor_view){0};
  if (rank < 0 || rank > TENSOR_MAX_RANK)
    return fail(err, SAM3_ERR_ARGUMENT, "tensor '%s': rank %d", name, rank);
  TRY(find(w, name, &place, &tensor, found, err));
  bool fits = tensor->rank == rank;
  for (int i = 0; fits && i < rank; i++)
    fits = found[i] == dims[i];
  if (!fits)
    return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s'%s has shape %s; the configuration expects %s",
                path_of(w, tensor), tensor->name,
                place.third >= 0  ? " (a third of it)"
                : place.class_row ? " (without its class row)"
                                  : "",
                show_shape(tensor->rank, found).text, show_shape(rank, dims).text);
  if (tensor->type->dtype < 0)
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: tensor '%s' has dtype %s; we compute with F32, F16 and BF16",
                path_of(w, tensor), tensor->name, tensor->type->name);
  if (!tensor->contiguous)
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: tensor '%s' is not contiguous (a transposed view?): save it contiguous",
                path_of(w, tensor), tensor->name);
  TRY(align(tensor, err));
  const unsigned char *data = tensor->copy ? tensor->copy : tensor->data;
  if (place.third >= 0)
    data += tensor->bytes / 3 * (uint64_t)place.third;
  if (place.class_row)
    data += tensor->bytes / (uint64_t)tensor->dims[1];
  *out = (struct tensor_view){.data = data, .dtype = (sam3_dtype)tensor->type->dtype, .rank = rank};
  for (int i = 0; i < rank; i++)
    out->dims[i] = dims[i];
  TRY(given_add(&w->given, name, out, err));
  w->used_bytes += tensor->used ? 0 : tensor->bytes;
  tensor->used = true;
  return SAM3_OK;
}

sam3_status weights_check_all_used(const struct weights *w, struct sam3_error *err) {
  for (size_t i = 0; i < w->container.n_tensors; i++) {
    const struct stored_tensor *tensor = &w->container.tensors[i];
    if (!tensor->used && !names_role(&w->scheme, tensor->name).ignored)
      return fail(err, SAM3_ERR_FORMAT, "%s: tensor '%s' %s is not part of the model that the configuration describes",
                  path_of(w, tensor), tensor->name, show_shape(tensor->rank, tensor->dims).text);
  }
  return SAM3_OK;
}

/* ------------------------------------------------------------------------------------- listing */

size_t weights_count(const struct weights *w) {
  return w->container.n_tensors;
}

struct tensor_info weights_info(const struct weights *w, size_t index) {
  const struct stored_tensor *tensor = &w->container.tensors[index];
  return (struct tensor_info){.name = tensor->name,
                              .dtype = tensor->type->name,
                              .dims = tensor->dims,
                              .rank = tensor->rank,
                              .bytes = tensor->bytes,
                              .part = names_role(&w->scheme, tensor->name).part,
                              .used = tensor->used};
}

sam3_status weights_write(const struct weights *w, const char *path, sam3_dtype dtype, struct sam3_error *err) {
  return given_write(&w->given, path, dtype, err);
}

uint64_t weights_used_bytes(const struct weights *w) {
  return w->used_bytes;
}

const char *weights_directory(const struct weights *w) {
  return w->directory;
}

const char *weights_format(const struct weights *w) {
  return w->format;
}
