/* Any bytes as a phrase; what is translated is a phrase without Han characters, of what the phrase itself did not say
 * in letters. */
#include <stdlib.h>
#include <string.h>

#include "serve/translate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
  if (!condition)
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1), *english;
  require(text);
  memcpy(text, data, size);
  text[size] = '\0';
  is_chinese(text);
  struct sam3_error err = {0};
  if (translate(text, &english, &err) == SAM3_OK) {
    require(english && *english && !is_chinese(english));
    free(english);
  } else {
    require(!english && err.status == SAM3_ERR_UNSUPPORTED && *err.message);
  }
  free(text);
  return 0;
}
