/* Reads texts from standard input, a line each in hexadecimal UTF-8, and prints their token ids, a line each. For
 * tools/compare_tokenizer.py.
 *
 *     tokenize_lines CONTEXT [DIRECTORY] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

static size_t from_hex(char *text) {
  size_t n = 0;
  for (unsigned byte; sscanf(text + 2 * n, "%2x", &byte) == 1; n++)
    text[n] = (char)byte;
  return n;
}

int main(int argc, char **argv) {
  int context = argc > 1 ? atoi(argv[1]) : 32, count, status = 1;
  struct sam3_error err = {0};
  struct tokenizer *tokenizer = NULL;
  int32_t *ids = calloc(context > 0 ? (size_t)context : 1, sizeof *ids);
  char *line = NULL;
  size_t capacity = 0;
  if (!ids || tokenizer_open(argc > 2 ? argv[2] : NULL, &tokenizer, &err))
    goto done;
  while (getline(&line, &capacity, stdin) > 0) {
    size_t length = from_hex(line);
    if (tokenizer_encode(tokenizer, line, length, context, ids, &count, &err))
      goto done;
    for (int i = 0; i < count; i++)
      printf(i ? " %d" : "%d", ids[i]);
    putchar('\n');
  }
  status = 0;
done:
  if (status)
    fprintf(stderr, "%s\n", err.message);
  free(line);
  free(ids);
  tokenizer_close(tokenizer);
  return status;
}
