/* The tensors that the model asked for, by the names it asked for, and how they are written as safetensors. */
#ifndef SAM3_WEIGHTS_WRITE_H
#define SAM3_WEIGHTS_WRITE_H

#include "weights/weights.h"

struct given {
  char *name;
  struct tensor_view view;
};

struct given_list {
  struct given *items;
  size_t count, capacity;
};

sam3_status given_add(struct given_list *list, const char *name, const struct tensor_view *view,
                      struct sam3_error *err);
void given_free(struct given_list *list);

/* See weights_write(). */
sam3_status given_write(const struct given_list *list, const char *path, sam3_dtype dtype, struct sam3_error *err);

#endif
