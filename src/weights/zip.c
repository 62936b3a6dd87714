/* PKWARE's APPNOTE.TXT 6.3.9; section numbers in the comments are its. */
#include "weights/zip.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define LOCAL_SIGNATURE 0x04034b50u     /* 4.3.7 */
#define CENTRAL_SIGNATURE 0x02014b50u   /* 4.3.12 */
#define END_SIGNATURE 0x06054b50u       /* 4.3.16 */
#define END64_SIGNATURE 0x06064b50u     /* 4.3.14 */
#define LOCATOR64_SIGNATURE 0x07064b50u /* 4.3.15 */

enum { LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22, END64_SIZE = 56, LOCATOR64_SIZE = 20, MAX_COMMENT = 65535 };

static sam3_status damaged(const struct mapped_file *file, const char *what, struct sam3_error *err) {
  return fail(err, SAM3_ERR_FORMAT, "%s: damaged or truncated zip archive: %s", file->path, what);
}

struct directory {
  uint64_t offset, size, n_entries;
};

/* The end record is the last thing in the file but for a comment, whose length it tells. */
static sam3_status find_directory(const struct mapped_file *file, struct directory *directory, struct sam3_error *err) {
  const unsigned char *data = file->data;
  size_t end = 0;
  bool found = false;
  for (size_t comment = 0; !found && comment <= MAX_COMMENT && END_SIZE + comment <= file->size; comment++) {
    end = file->size - END_SIZE - comment;
    found = read_u32(data + end) == END_SIGNATURE && read_u16(data + end + 20) == comment;
  }
  if (!found)
    return damaged(file, "no end record", err);
  uint32_t disk = read_u16(data + end + 4), directory_disk = read_u16(data + end + 6);
  uint64_t entries_here = read_u16(data + end + 8), limit = end;
  *directory = (struct directory){
      .offset = read_u32(data + end + 16), .size = read_u32(data + end + 12), .n_entries = read_u16(data + end + 10)};
  if (end >= LOCATOR64_SIZE && read_u32(data + end - LOCATOR64_SIZE) == LOCATOR64_SIGNATURE) {
    uint64_t end64 = read_u64(data + end - LOCATOR64_SIZE + 8);
    limit = end - LOCATOR64_SIZE;
    if (limit < END64_SIZE || end64 > limit - END64_SIZE || read_u32(data + end64) != END64_SIGNATURE)
      return damaged(file, "no zip64 end record", err);
    disk = read_u32(data + end64 + 16);
    directory_disk = read_u32(data + end64 + 20);
    entries_here = read_u64(data + end64 + 24);
    directory->n_entries = read_u64(data + end64 + 32);
    directory->size = read_u64(data + end64 + 40);
    directory->offset = read_u64(data + end64 + 48);
    limit = end64;
  }
  if (disk || directory_disk || entries_here != directory->n_entries)
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: a zip archive in several parts", file->path);
  if (directory->offset > limit || directory->size > limit - directory->offset)
    return damaged(file, "the directory lies outside the file", err);
  if (directory->n_entries > ZIP_MAX_ENTRIES)
    return fail(err, SAM3_ERR_LIMIT, "%s: a zip archive of more than %d entries", file->path, ZIP_MAX_ENTRIES);
  if (directory->n_entries > directory->size / CENTRAL_SIZE)
    return damaged(file, "the directory is too short for its entries", err);
  return SAM3_OK;
}

/* Sizes and offsets that do not fit 32 bits stand, in this order, in the extra field of id 1 (4.5.3). */
static bool read_zip64_extra(const unsigned char *extra, size_t length, uint64_t *size, uint64_t *stored,
                             uint64_t *start) {
  uint64_t *const wide[] = {size, stored, start};
  bool needed = *size == UINT32_MAX || *stored == UINT32_MAX || *start == UINT32_MAX;
  while (needed && length >= 4) {
    size_t id = read_u16(extra), n = read_u16(extra + 2);
    extra += 4;
    length -= 4;
    if (n > length)
      return false;
    if (id != 1) {
      extra += n;
      length -= n;
      continue;
    }
    for (int i = 0; i < 3; i++) {
      if (*wide[i] != UINT32_MAX)
        continue;
      if (n < 8)
        return false;
      *wide[i] = read_u64(extra);
      extra += 8;
      n -= 8;
    }
    return true;
  }
  return !needed;
}

/* Reads one record of the directory at `*at` and moves on. */
static sam3_status read_entry(const struct mapped_file *file, const struct directory *directory, uint64_t *at,
                              struct zip_entry *entry, struct sam3_error *err) {
  uint64_t end = directory->offset + directory->size;
  const unsigned char *record = file->data + *at;
  if (end - *at < CENTRAL_SIZE || read_u32(record) != CENTRAL_SIGNATURE)
    return damaged(file, "no record where the directory should have one", err);
  uint32_t flags = read_u16(record + 8), method = read_u16(record + 10);
  size_t name_length = read_u16(record + 28), extra_length = read_u16(record + 30), comment = read_u16(record + 32);
  uint64_t stored = read_u32(record + 20);
  if (end - *at - CENTRAL_SIZE < name_length + extra_length + comment)
    return damaged(file, "a directory record runs over the end", err);
  *entry = (struct zip_entry){.name = (const char *)record + CENTRAL_SIZE,
                              .name_length = name_length,
                              .size = read_u32(record + 24),
                              .start = read_u32(record + 42)};
  struct shown shown = show(entry->name, name_length);
  if (!read_zip64_extra(record + CENTRAL_SIZE + name_length, extra_length, &entry->size, &stored, &entry->start))
    return damaged(file, "a damaged zip64 field", err);
  if (flags & 1)
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: entry '%s' is encrypted", file->path, shown.text);
  if (method)
    return fail(err, SAM3_ERR_UNSUPPORTED,
                "%s: entry '%s' is compressed (method %u); torch.save stores entries as they are", file->path,
                shown.text, method);
  bool has_header = entry->start <= directory->offset && directory->offset - entry->start >= LOCAL_SIZE;
  const unsigned char *local = has_header ? file->data + entry->start : NULL;
  if (!local || read_u32(local) != LOCAL_SIGNATURE)
    return fail(err, SAM3_ERR_FORMAT, "%s: entry '%s' has no header of its own", file->path, shown.text);
  uint64_t data = entry->start + LOCAL_SIZE + read_u16(local + 26) + read_u16(local + 28);
  if (data > directory->offset || entry->size > directory->offset - data)
    return fail(err, SAM3_ERR_FORMAT, "%s: entry '%s' lies outside the file", file->path, shown.text);
  if (stored != entry->size || read_u16(local + 26) != name_length || read_u16(local + 8) != method ||
      memcmp(local + LOCAL_SIZE, entry->name, name_length))
    return fail(err, SAM3_ERR_FORMAT, "%s: entry '%s': its two headers disagree", file->path, shown.text);
  entry->data = file->data + data;
  *at += CENTRAL_SIZE + name_length + extra_length + comment;
  return SAM3_OK;
}

static int compare_starts(const void *a, const void *b) {
  uint64_t x = ((const struct zip_entry *)a)->start, y = ((const struct zip_entry *)b)->start;
  return x < y ? -1 : x > y;
}

static int compare_name(const char *name, size_t length, const struct zip_entry *entry) {
  size_t common = length < entry->name_length ? length : entry->name_length;
  int order = memcmp(name, entry->name, common);
  return order ? order : length < entry->name_length ? -1 : length > entry->name_length;
}

static int compare_entries(const void *a, const void *b) {
  const struct zip_entry *entry = a;
  return compare_name(entry->name, entry->name_length, b);
}

static sam3_status read_entries(const struct mapped_file *file, const struct directory *directory, struct zip *zip,
                                struct sam3_error *err) {
  uint64_t at = directory->offset;
  struct zip_entry *entries = zip->entries;
  for (; zip->n_entries < directory->n_entries; zip->n_entries++)
    TRY(read_entry(file, directory, &at, &entries[zip->n_entries], err));
  if (at != directory->offset + directory->size)
    return damaged(file, "bytes behind the directory's last record", err);
  qsort(entries, zip->n_entries, sizeof *entries, compare_starts);
  for (size_t i = 1; i < zip->n_entries; i++)
    if (entries[i].start < (uint64_t)(entries[i - 1].data - file->data) + entries[i - 1].size)
      return fail(err, SAM3_ERR_FORMAT, "%s: entry '%s' overlaps another one", file->path,
                  show(entries[i].name, entries[i].name_length).text);
  qsort(entries, zip->n_entries, sizeof *entries, compare_entries);
  for (size_t i = 1; i < zip->n_entries; i++)
    if (!compare_entries(&entries[i - 1], &entries[i]))
      return fail(err, SAM3_ERR_FORMAT, "%s: entry '%s' occurs twice", file->path,
                  show(entries[i].name, entries[i].name_length).text);
  return SAM3_OK;
}

sam3_status zip_read(const struct mapped_file *file, struct zip *zip, struct sam3_error *err) {
  struct directory directory = {0};
  TRY(find_directory(file, &directory, err));
  *zip = (struct zip){.entries = mem_zeroed(directory.n_entries, sizeof *zip->entries)};
  if (!zip->entries)
    return fail_memory(err, directory.n_entries * sizeof *zip->entries, "the directory of a zip archive");
  sam3_status status = read_entries(file, &directory, zip, err);
  if (status != SAM3_OK) {
    free(zip->entries);
    *zip = (struct zip){0};
  }
  return status;
}

const struct zip_entry *zip_find(const struct zip *zip, const char *name, size_t length) {
  size_t low = 0, high = zip->n_entries;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = compare_name(name, length, &zip->entries[middle]);
    if (!order)
      return &zip->entries[middle];
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}
