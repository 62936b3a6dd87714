/* Reads the expected stage values of README.md and compares. Anything unexpected fails the running cmocka test. */
#ifndef SAM3_TESTS_MODEL_FIXTURE_H
#define SAM3_TESTS_MODEL_FIXTURE_H

#include "backend/device.h"

struct fixture_box {
  float x0, y0, x1, y1; /* pixels of the original */
  bool positive;
};

struct fixture_stage {
  char name[32];
  int64_t rows, cols, row_step, col_step;
  double largest;
  const float *values; /* [ceil(rows / row_step), ceil(cols / col_step)] */
  bool seen;
};

#define FIXTURE_MAX_STAGES 64
#define FIXTURE_MAX_TOKENS 32
#define FIXTURE_MAX_BOXES 8

struct fixture {
  char path[512];
  int size;        /* of the image: pixels a side */
  uint8_t *pixels; /* [size, size, 3] */
  int width, height;
  int32_t tokens[FIXTURE_MAX_TOKENS];
  int n_tokens;
  struct fixture_box boxes[FIXTURE_MAX_BOXES];
  int n_boxes;
  struct fixture_stage stages[FIXTURE_MAX_STAGES];
  int n_stages;
  float *values;
  double worst; /* largest difference seen so far, as a part of its stage's largest value */
  char worst_stage[32];
  int n_failed; /* stages that differ */
};

/* `manifest`: path of a <case>.txt. Free with fixture_free(). */
void fixture_read(struct fixture *f, const char *manifest);
void fixture_free(struct fixture *f);

/* Compares a stage: each difference must be within `tolerance` times the stage's largest magnitude, and a NaN never is.
 * Row i of `value` (float, host memory) is row order[i] of the stage; NULL: row i. A stage that the fixture has not is
 * passed over; one that comes twice fails. Differences are printed and counted, for fixture_finish(). */
void fixture_compare(struct fixture *f, const char *stage, struct tensor value, const int32_t *order, double tolerance);

/* Fails unless every stage has been compared and none differed. */
void fixture_finish(const struct fixture *f);

#endif
