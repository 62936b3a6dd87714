/* What the tests of this room share. Fixtures come from tools/make_image_fixtures.py. */
#ifndef TESTS_IMAGE_FIXTURE_H
#define TESTS_IMAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sam3.h"

/* A whole file of the fixture directory, ended by a NUL beyond `size`; fails the test when it is not there. Free with
 * free(). */
uint8_t *fixture_read(const char *name, size_t *size);
FILE *fixture_open(const char *name);

/* A 64-bit linear congruential generator: its upper 31 bits. */
uint32_t lcg_next(uint64_t *state);

/* Fails the test with the library's message. */
#define assert_ok(expression)                                                                                          \
  do {                                                                                                                 \
    sam3_status assert_ok_status = (expression);                                                                       \
    if (assert_ok_status != SAM3_OK)                                                                                   \
      fail_msg("%s: %s", sam3_status_name(assert_ok_status), err.message);                                             \
  } while (0)

/* Results of 6 x 5 pixels for two prompts: "a \"cat\"" with a ring around a hole and a part of its own, and boxes
 * only, with an empty mask. Built by the library's allocator; free with sam3_results_free. */
struct sam3_results *small_results(void);

#endif
