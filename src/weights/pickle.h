/* Reads the pickle of a state dict without running anything: a stack machine that knows the opcodes and the few
 * globals which torch.save needs for tensors in dictionaries, and refuses every other one by its name. */
#ifndef SAM3_WEIGHTS_PICKLE_H
#define SAM3_WEIGHTS_PICKLE_H

#include "weights/container.h"

/* A tensor as the pickle describes it; its numbers are not checked against anything yet. */
struct pickled_tensor {
  const char *name; /* its key in the state dict [name_length], in the pickle */
  size_t name_length;
  const struct element_type *type;
  const char *storage; /* key of the storage [storage_length], in the pickle */
  size_t storage_length;
  int64_t storage_elements;
  int64_t offset; /* of the first element in the storage, in elements */
  int rank;
  int64_t dims[STORED_MAX_RANK], strides[STORED_MAX_RANK]; /* in elements */
};

typedef sam3_status pickle_sink(void *user, const struct pickled_tensor *tensor, struct sam3_error *err);

/* Calls `sink` for each tensor of the state dict, which is the pickle's value itself or, when that has a dict under
 * "model", this one. Other values beside tensors do not matter. `file` is named in messages.
 * SAM3_ERR_FORMAT (damaged), _UNSUPPORTED (wants a global, opcode or protocol that a state dict does not need),
 * _LIMIT, _MEMORY, or what `sink` returned. */
sam3_status pickle_read_state_dict(const unsigned char *data, size_t size, const char *file, pickle_sink *sink,
                                   void *user, struct sam3_error *err);

#endif
