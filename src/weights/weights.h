/* A checkpoint: memory-mapped, every tensor used in place and found by its Hugging Face name, whatever names and
 * container the file has.
 *
 *     Hugging Face directory   model.safetensors, or model.safetensors.index.json and its shards
 *     lone .safetensors
 *     Meta's sam3.pt           alone, or as the only checkpoint of a directory
 *
 * The container is recognised by content, not by the file's ending. Opening reads the headers alone: a few
 * milliseconds at 3.4 GB. The pages are mapped shared and read-only, so all processes on a machine hold one copy.
 * A file that shrinks while it is mapped raises SIGBUS in whoever reads the lost pages (as with any mapped file):
 * replace a checkpoint by renaming a new one over it, never by writing into it.
 *
 * Names are those of transformers' Sam3Model without a prefix ("vision_encoder.backbone.layers.0.mlp.fc1.weight"),
 * the text encoder's with "text_encoder.text_model."; names.c holds the table that finds them in the file. */
#ifndef SAM3_WEIGHTS_WEIGHTS_H
#define SAM3_WEIGHTS_WEIGHTS_H

#include "sam3.h"

#define TENSOR_MAX_RANK 4 /* of a tensor the model may ask for */

/* Contiguous, row-major; valid until weights_close(). `data` is aligned to its element's size. */
struct tensor_view {
  const void *data;
  sam3_dtype dtype;
  int rank;
  int64_t dims[TENSOR_MAX_RANK];
};

struct weights;

/* Opens and checks the whole container: header, offsets, sizes, overlaps, names. `path` is a directory or a file.
 * SAM3_ERR_IO (cannot be opened or mapped), _FORMAT (damaged or hostile), _UNSUPPORTED (well-formed, but compressed,
 * big-endian, an element type or pickle content we do not read), _LIMIT, _MEMORY. On failure `*out` is NULL.
 * Free with weights_close(). */
sam3_status weights_open(const char *path, struct weights **out, struct sam3_error *err);
void weights_close(struct weights *weights);

/* The tensor of that name, whose shape must be exactly `dims` [rank]. A q, k or v projection that the file keeps
 * fused is a view into the fused rows. Element types: F32, F16, BF16. Missing, mis-shaped, of another type or not
 * contiguous: SAM3_ERR_FORMAT or _UNSUPPORTED with a message that names the file, the tensor as the file calls it,
 * and the expected and found shapes.
 * A tensor that is not aligned in the file (possible in safetensors, whose header may have any length) is copied
 * once into memory that `weights` owns. Marks the tensor as used; not for two threads at a time. */
sam3_status weights_get(struct weights *weights, const char *name, int rank, const int64_t *dims,
                        struct tensor_view *out, struct sam3_error *err);

/* The shape that weights_get() would find, for sizes that no configuration tells; marks nothing. SAM3_ERR_FORMAT
 * when there is no such tensor. */
sam3_status weights_shape(const struct weights *weights, const char *name, int *rank, int64_t dims[TENSOR_MAX_RANK],
                          struct sam3_error *err);

/* After the model has fetched all it has (layers that it does not run included): an error that names the first
 * detector tensor that nobody asked for and that is not known to be unused by images, a sign that the file holds
 * another architecture or more layers than the configuration says. */
sam3_status weights_check_all_used(const struct weights *weights, struct sam3_error *err);

/* One tensor as the file has it, for listings. Pointers are valid until weights_close(). */
struct tensor_info {
  const char *name;    /* as in the file, prefix included */
  const char *dtype;   /* "F32", "BF16", "C64", ... */
  const int64_t *dims; /* [rank] */
  int rank;            /* may exceed TENSOR_MAX_RANK in tensors that the model does not use */
  uint64_t bytes;
  const char *part; /* "vision", "neck", "text", "geometry", "fusion", "decoder", "scoring", "mask head", "other" */
  bool used;        /* weights_get() has given it out */
};

size_t weights_count(const struct weights *weights);
/* `index` < weights_count(); tensors are sorted by name. */
struct tensor_info weights_info(const struct weights *weights, size_t index);

/* Writes what weights_get() has given out as one safetensors file, under the names it was asked for and as `dtype`, a
 * tensor at a time. The file is not removed when writing fails. SAM3_ERR_IO, _UNSUPPORTED (a number that f16 cannot
 * hold), _MEMORY. */
sam3_status weights_write(const struct weights *weights, const char *path, sam3_dtype dtype, struct sam3_error *err);

/* Bytes of the tensors that weights_get() has given out so far; a tensor asked for twice counts once. */
uint64_t weights_used_bytes(const struct weights *weights);

/* The directory that weights_open() was given, where configuration and tokenizer files lie; NULL for a lone file. */
const char *weights_directory(const struct weights *weights);

/* "safetensors" or "pytorch". */
const char *weights_format(const struct weights *weights);

#endif
