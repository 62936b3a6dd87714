#include "text/clip_merges.h"

#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/error.h"
#include "base/memory.h"

/* data/clip_merges.txt.gz, from clip_merges_data.S */
extern const unsigned char clip_merges[];
extern const uint32_t clip_merges_size;

static void *allocate(void *user, unsigned count, unsigned size) {
  (void)user;
  return mem_zeroed(count, size);
}

static void release(void *user, void *block) {
  (void)user;
  free(block);
}

sam3_status clip_merges_unpack(char **text, size_t *size, struct sam3_error *err) {
  static const char name[] = "the built-in vocabulary";
  const unsigned char *tail = clip_merges + clip_merges_size - 4; /* gzip ends in the unpacked size, little endian */
  *size = tail[0] | (size_t)tail[1] << 8 | (size_t)tail[2] << 16 | (size_t)tail[3] << 24;
  *text = mem_alloc(*size);
  if (!*text)
    return fail_memory(err, *size, name);
  z_stream stream = {.next_in = (unsigned char *)clip_merges,
                     .avail_in = clip_merges_size,
                     .next_out = (unsigned char *)*text,
                     .avail_out = (unsigned)*size,
                     .zalloc = allocate,
                     .zfree = release};
  int result = inflateInit2(&stream, 16 + MAX_WBITS); /* 16: a gzip header */
  if (result == Z_OK) {
    result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
  }
  if (result == Z_STREAM_END)
    return SAM3_OK;
  free(*text);
  *text = NULL;
  return result == Z_MEM_ERROR ? fail_memory(err, *size, name)
                               : fail(err, SAM3_ERR_FORMAT, "%s: damaged (zlib error %d)", name, result);
}
