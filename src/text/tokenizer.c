#include "text/tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unictype.h>
#include <unistd.h>
#include <unistr.h>

#include "base/error.h"
#include "base/memory.h"
#include "text/bpe.h"
#include "text/clean.h"
#include "text/vocabulary.h"

struct tokenizer {
  struct bpe bpe;
};

/* ----------------------------------------------------------------------------------------- files */

#define MAX_FILE (64 << 20)

/* A file of the checkpoint, read whole. */
struct file {
  char *path, *bytes;
  size_t size;
};

static void file_free(struct file *file) {
  free(file->path);
  free(file->bytes);
  *file = (struct file){0};
}

static struct source source_of(const struct file *file) {
  return (struct source){file->path, file->bytes, file->size};
}

static sam3_status read_descriptor(int fd, struct file *file, struct sam3_error *err) {
  struct stat info;
  if (fstat(fd, &info))
    return fail(err, SAM3_ERR_IO, "%s: %s", file->path, strerror(errno));
  if (!S_ISREG(info.st_mode))
    return fail(err, SAM3_ERR_IO, "%s: not a regular file", file->path);
  if (info.st_size > MAX_FILE)
    return fail(err, SAM3_ERR_LIMIT, "%s: %lld bytes, over the limit of %d", file->path, (long long)info.st_size,
                MAX_FILE);
  size_t size = (size_t)info.st_size;
  file->bytes = mem_alloc(size);
  if (!file->bytes)
    return fail_memory(err, size, file->path);
  while (file->size < size) {
    ssize_t n = read(fd, file->bytes + file->size, size - file->size);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail(err, SAM3_ERR_IO, "%s: %s", file->path, n ? strerror(errno) : "the file became shorter");
    file->size += (size_t)n;
  }
  return SAM3_OK;
}

/* Reads `name` in `directory`; leaves file->bytes NULL when there is no such file. Free it in any case. */
static sam3_status read_file(const char *directory, const char *name, struct file *file, struct sam3_error *err) {
  size_t size = strlen(directory) + strlen(name) + 2;
  file->path = mem_alloc(size);
  if (!file->path)
    return fail_memory(err, size, name);
  snprintf(file->path, size, "%s/%s", directory, name);
  int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block */
  if (fd < 0)
    return errno == ENOENT ? SAM3_OK : fail(err, SAM3_ERR_IO, "%s: %s", file->path, strerror(errno));
  sam3_status status = read_descriptor(fd, file, err);
  close(fd);
  return status;
}

static sam3_status read_pair(const char *directory, const struct file *vocab, struct bpe *bpe, struct sam3_error *err) {
  struct file merges = {0};
  sam3_status status = read_file(directory, "merges.txt", &merges, err);
  if (status == SAM3_OK)
    status = merges.bytes ? vocabulary_from_pair(source_of(vocab), source_of(&merges), bpe, err)
                          : fail(err, SAM3_ERR_IO, "%s: missing, but needed with %s", merges.path, vocab->path);
  file_free(&merges);
  return status;
}

static sam3_status read_vocabulary(const char *directory, struct bpe *bpe, struct sam3_error *err) {
  if (!directory)
    return vocabulary_built_in(bpe, err);
  struct file json = {0}, vocab = {0};
  sam3_status status = read_file(directory, "tokenizer.json", &json, err);
  if (status == SAM3_OK && json.bytes)
    status = vocabulary_from_json(source_of(&json), bpe, err);
  else if (status == SAM3_OK)
    status = read_file(directory, "vocab.json", &vocab, err);
  if (status == SAM3_OK && !json.bytes)
    status = vocab.bytes ? read_pair(directory, &vocab, bpe, err) : vocabulary_built_in(bpe, err);
  file_free(&json);
  file_free(&vocab);
  return status;
}

sam3_status tokenizer_open(const char *directory, struct tokenizer **out, struct sam3_error *err) {
  *out = NULL;
  struct tokenizer *tokenizer = mem_zeroed(1, sizeof *tokenizer);
  if (!tokenizer)
    return fail_memory(err, sizeof *tokenizer, "the tokenizer");
  sam3_status status = read_vocabulary(directory, &tokenizer->bpe, err);
  if (status == SAM3_OK)
    *out = tokenizer;
  else
    tokenizer_close(tokenizer);
  return status;
}

void tokenizer_close(struct tokenizer *tokenizer) {
  if (tokenizer)
    bpe_free(&tokenizer->bpe);
  free(tokenizer);
}

/* ---------------------------------------------------------------------------------------- encode */

/* The original's pattern, case ignored: <start_of_text> | <end_of_text> | 's | 't | 're | 've | 'm | 'll | 'd |
 * letters | one number | anything else but spaces. */
static const char *const fixed_pieces[] = {
    "<start_of_text>", "<end_of_text>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

enum kind { SPACE, LETTER, NUMBER, OTHER };

static enum kind classify(uint32_t c) {
  /* U+0345 is no letter, but its capital is: without regard to case it is not "anything else" either. */
  if (c == ' ' || c == 0x345)
    return SPACE;
  if (uc_is_general_category(c, UC_CATEGORY_L))
    return LETTER;
  return uc_is_general_category(c, UC_CATEGORY_N) ? NUMBER : OTHER;
}

/* Whether `text` begins with `piece`. In lower case, the only other case of a letter left is the long s, U+017F. */
static bool begins_with(const uint32_t *text, size_t count, const char *piece, bool any_case) {
  for (size_t i = 0; piece[i]; i++)
    if (i == count || (any_case && text[i] == 0x17f ? 's' : text[i]) != (unsigned char)piece[i])
      return false;
  return true;
}

/* The length of the piece, or of the space, that the cleaned text begins with; `count` > 0. */
static size_t piece_length(const uint32_t *text, size_t count) {
  for (size_t i = 0; i < sizeof fixed_pieces / sizeof *fixed_pieces; i++)
    if (begins_with(text, count, fixed_pieces[i], true))
      return strlen(fixed_pieces[i]);
  enum kind kind = classify(text[0]);
  size_t n = 1;
  if (kind == LETTER || kind == OTHER)
    while (n < count && classify(text[n]) == kind)
      n++;
  return n;
}

/* Encodes the cleaned text into ids [capacity] and adds to `count`; `bytes` has room for the text in UTF-8. */
static sam3_status encode(const struct bpe *bpe, const struct codepoints *text, uint8_t *bytes, size_t capacity,
                          int32_t *ids, size_t *count, struct sam3_error *err) {
  for (size_t i = 0, length; i < text->count && *count < capacity; i += length) {
    const uint32_t *piece = text->at + i;
    length = piece_length(piece, text->count - i);
    if (classify(*piece) == SPACE)
      continue;
    if (begins_with(piece, length, "<start_of_text>", false)) {
      ids[(*count)++] = bpe->start;
    } else if (begins_with(piece, length, "<end_of_text>", false)) {
      ids[(*count)++] = bpe->end;
    } else {
      size_t size = 4 * length;
      u32_to_u8(piece, length, bytes, &size);
      TRY(bpe_encode(bpe, bytes, size, ids + *count, capacity - *count, count, err));
    }
  }
  return SAM3_OK;
}

sam3_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, int context,
                             int32_t *ids, int *count, struct sam3_error *err) {
  *count = 0;
  if (context < 2)
    return fail(err, SAM3_ERR_ARGUMENT, "a context of %d tokens has no room for the start and the end token", context);
  struct codepoints clean = {0};
  sam3_status status = clean_text(text, length, &clean, err);
  uint8_t *bytes = NULL;
  if (status == SAM3_OK && !(bytes = mem_resize(NULL, clean.count, 4)))
    status = fail_memory(err, 4 * clean.count, "text");
  size_t n = 0;
  ids[n++] = tokenizer->bpe.start;
  if (status == SAM3_OK)
    status = encode(&tokenizer->bpe, &clean, bytes, (size_t)context - 1, ids, &n, err);
  ids[n++] = tokenizer->bpe.end;
  if (status == SAM3_OK)
    *count = (int)n;
  free(bytes);
  codepoints_free(&clean);
  return status;
}
