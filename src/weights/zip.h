/* The part of zip that torch.save writes: entries stored without compression, read in place; zip64. */
#ifndef SAM3_WEIGHTS_ZIP_H
#define SAM3_WEIGHTS_ZIP_H

#include "weights/container.h"

#define ZIP_MAX_ENTRIES 200000

struct zip_entry {
  const char *name; /* [name_length], in the map, not terminated */
  size_t name_length;
  const unsigned char *data;
  uint64_t size;
  uint64_t start; /* offset of the local header */
};

struct zip {
  struct zip_entry *entries; /* sorted by name */
  size_t n_entries;
};

/* Reads the directory of a mapped file and checks every entry: inside the file, none overlapping, names and sizes the
 * same in both headers. A compressed, encrypted or split archive is SAM3_ERR_UNSUPPORTED. Free with free(entries). */
sam3_status zip_read(const struct mapped_file *file, struct zip *zip, struct sam3_error *err);

/* NULL when there is none. */
const struct zip_entry *zip_find(const struct zip *zip, const char *name, size_t length);

#endif
