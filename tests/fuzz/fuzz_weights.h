/* What the fuzz targets of checkpoints share: open the bytes as a file and use all that opens. */
#ifndef TESTS_FUZZ_WEIGHTS_H
#define TESTS_FUZZ_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "weights/weights.h"

/* Keeps the reads of tensors from being optimised away. */
static volatile unsigned char sink;

/* Asks for every tensor under its own name, and reads what it gets. */
static inline void use_weights(struct weights *w) {
  static const char *const names[] = {"vision_encoder.backbone.embeddings.position_embeddings",
                                      "vision_encoder.backbone.layers.0.attention.v_proj.weight",
                                      "text_encoder.text_model.encoder.layers.0.self_attn.k_proj.bias"};
  for (size_t i = 0; i < weights_count(w) + 3; i++) {
    const char *name = i < 3 ? names[i] : weights_info(w, i - 3).name;
    struct tensor_view view;
    int64_t dims[TENSOR_MAX_RANK];
    int rank;
    if (weights_shape(w, name, &rank, dims, NULL) == SAM3_OK &&
        weights_get(w, name, rank, dims, &view, NULL) == SAM3_OK) {
      size_t size = view.dtype == SAM3_F32 ? 4 : 2;
      for (int d = 0; d < rank; d++)
        size *= (size_t)dims[d];
      if ((uintptr_t)view.data % (view.dtype == SAM3_F32 ? 4 : 2))
        abort();
      for (size_t b = 0; b < size; b++)
        sink ^= ((const unsigned char *)view.data)[b];
    }
  }
  weights_check_all_used(w, NULL);
}

static inline void open_and_use(const uint8_t *data, size_t size) {
  static int fd = -1;
  static char path[64];
  if (fd < 0) {
    fd = memfd_create("fuzz", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  }
  if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
    abort();
  struct weights *w = NULL;
  struct sam3_error err = {0};
  if (weights_open(path, &w, &err) == SAM3_OK)
    use_weights(w);
  else if (!err.message[0] || w)
    abort(); /* an error without a message */
  weights_close(w);
}

#endif
