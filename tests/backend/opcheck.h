/* opcheck: every operator that a device overrides, against `ref`. */
#ifndef OPCHECK_H
#define OPCHECK_H

#include "backend/device.h"

/* What a check needs: two devices, a random stream, and where failures are counted. */
struct check {
  struct device *ref, *dev;
  const char *device;   /* for messages: name and variant */
  sam3_dtype own_dtype; /* of the variant: SAM3_BF16 rounds activations, too */
  const char *op;
  uint64_t seed, state; /* of the case in hand */
  int cases, failures;
};

const char *dtype_name(sam3_dtype dtype);

uint64_t random_bits(struct check *check);
int random_int(struct check *check, int low, int high); /* both included */
float random_normal(struct check *check);

/* A matrix with stride and surroundings of its own: rows are not aligned, and what lies outside holds a pattern. */
struct buffer {
  struct tensor t;
  unsigned char *block;
  size_t size, first; /* bytes of the block, and before the first element */
};
struct buffer buffer_make(struct check *check, sam3_dtype dtype, int64_t rows, int64_t cols);
struct buffer buffer_copy(const struct buffer *from);
void buffer_round(struct buffer *buffer, sam3_dtype dtype); /* a matrix of floats */
void buffer_free(struct buffer *buffer);
float *floats_make(struct check *check, int64_t count); /* normal; free with free() */

/* Compares what `ref` and the device wrote: every element within `tolerance` of the largest magnitude, nothing changed
 * outside. Frees both. `format` describes the case. */
__attribute__((format(printf, 5, 6))) void expect_equal(struct check *check, struct buffer *want, struct buffer *got,
                                                        double tolerance, const char *format, ...);

void check_all(struct check *check, const char *only, uint64_t seed);
void bench_all(struct device *dev, const char *only);

#endif
