/* Thousands of damaged files: every fixture, changed at random, is decoded or refused with a message. Memory errors
 * and leaks show in sanitizer builds. $SAM3_MUTATIONS: how many of each file (default 200). */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

/* PNG chunks get sound checksums, or nothing behind the checksums would be reached. */
static void mend_png(uint8_t *bytes, size_t size) {
  for (size_t at = 8; size >= 20 && at <= size - 12;) {
    size_t length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | bytes[at + 3];
    if (length > size - at - 12)
      break;
    uLong crc = crc32(0, bytes + at + 4, (uInt)length + 4);
    for (int i = 0; i < 4; i++)
      bytes[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    at += length + 12;
  }
}

/* One change behind the signature; the size may shrink. */
static void mutate(uint8_t *bytes, size_t *size, uint64_t *seed) {
  static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
  if (*size < 20)
    return;
  size_t at = 8 + lcg_next(seed) % (*size - 8);
  if (lcg_next(seed) % 2) /* headers decide most */
    at = 8 + at % (*size - 8 < 200 ? *size - 8 : 200);
  size_t length = 1 + lcg_next(seed) % 8;
  if (length > *size - at)
    length = *size - at;
  switch (lcg_next(seed) % 6) {
  case 0:
    bytes[at] ^= (uint8_t)(1u << lcg_next(seed) % 8);
    break;
  case 1:
    bytes[at] = (uint8_t)lcg_next(seed);
    break;
  case 2:
    memset(bytes + at, telling[lcg_next(seed) % sizeof telling], length);
    break;
  case 3: /* a piece is lost */
    memmove(bytes + at, bytes + at + length, *size - at - length);
    *size -= length;
    break;
  case 4: /* a piece stands twice */
    memmove(bytes + at, bytes + 8 + lcg_next(seed) % (*size - 8 - length + 1), length);
    break;
  default:
    if (lcg_next(seed) % 4 == 0)
      *size = at;
  }
}

static void test_mutations(void **state) {
  (void)state;
  const char *wish = getenv("SAM3_MUTATIONS");
  int rounds = wish ? atoi(wish) : 200, refused = 0, decoded = 0;
  FILE *list = fixture_open("images.txt");
  char name[100];
  uint64_t seed = 1;
  while (fscanf(list, "%99s", name) == 1) {
    size_t whole;
    uint8_t *original = fixture_read(name, &whole);
    for (int i = 0; i < rounds; i++) {
      size_t size = whole;
      uint8_t *bytes = malloc(whole);
      memcpy(bytes, original, whole);
      for (uint32_t changes = 1 + lcg_next(&seed) % 4; changes; changes--)
        mutate(bytes, &size, &seed);
      if (lcg_next(&seed) % 4)
        mend_png(bytes, strstr(name, ".png") ? size : 0);
      uint8_t *exact = malloc(size); /* of its own, so that sanitizers see reads beyond */
      memcpy(exact, bytes, size);
      struct sam3_error err = {0};
      sam3_image *image;
      if (sam3_image_decode(exact, size, name, 1 << 20, &image, &err) == SAM3_OK) {
        decoded++;
      } else {
        refused++;
        if (image || strncmp(err.message, name, strlen(name)))
          fail_msg("%s, round %d: \"%s\"", name, i, err.message);
      }
      sam3_image_free(image);
      free(exact);
      free(bytes);
    }
    free(original);
  }
  fclose(list);
  print_message("%d refused, %d decoded\n", refused, decoded);
  assert_true(refused > 0 && decoded > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutations)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
