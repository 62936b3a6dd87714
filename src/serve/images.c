#include "serve/images.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"
#include "base/memory.h"

#define MAX_IMAGES 4096

struct entry {
  char id[ID_SIZE];
  uint64_t hash, used, cost;
  void *bytes; /* as they came */
  size_t size;
  sam3_image *image;
};

struct images {
  pthread_mutex_t lock;
  uint64_t max_bytes, max_pixels, bytes, clock, seed;
  size_t count;
  struct entry entries[MAX_IMAGES];
};

void make_id(char id[ID_SIZE]) {
  unsigned char random[16];
  for (size_t got = 0; got < sizeof random;) {
    ssize_t n = getrandom(random + got, sizeof random - got, 0);
    got += n > 0 ? (size_t)n : 0;
  }
  for (size_t i = 0; i < sizeof random; i++)
    snprintf(id + 2 * i, 3, "%02x", random[i]);
}

/* Only finds candidates: equal hashes are compared byte by byte. */
static uint64_t hash_of(const unsigned char *bytes, size_t size, uint64_t seed) {
  uint64_t hash = seed ^ size;
  for (; size; size -= size < 8 ? size : 8, bytes += 8) {
    uint64_t word = 0;
    memcpy(&word, bytes, size < 8 ? size : 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return hash;
}

sam3_status images_open(uint64_t max_bytes, uint64_t max_pixels, struct images **out, struct sam3_error *err) {
  struct images *images = *out = mem_zeroed(1, sizeof *images);
  if (!images)
    return fail_memory(err, sizeof *images, "images");
  pthread_mutex_init(&images->lock, NULL);
  images->max_bytes = max_bytes;
  images->max_pixels = max_pixels;
  if (getrandom(&images->seed, sizeof images->seed, 0) < 0)
    images->seed = (uintptr_t)images;
  return SAM3_OK;
}

static void drop(struct images *images, size_t index) {
  struct entry *entry = &images->entries[index];
  images->bytes -= entry->cost;
  sam3_image_free(entry->image);
  free(entry->bytes);
  *entry = images->entries[--images->count];
}

static struct entry *same_bytes(struct images *images, uint64_t hash, const void *bytes, size_t size) {
  for (size_t i = 0; i < images->count; i++) {
    struct entry *entry = &images->entries[i];
    if (entry->hash == hash && entry->size == size && memcmp(entry->bytes, bytes, size) == 0) {
      entry->used = ++images->clock;
      return entry;
    }
  }
  return NULL;
}

/* Room for one more of `cost` bytes; one image is always kept. */
static void make_room(struct images *images, uint64_t cost) {
  while (images->count && (images->count == MAX_IMAGES || images->bytes + cost > images->max_bytes)) {
    size_t oldest = 0;
    for (size_t i = 1; i < images->count; i++)
      if (images->entries[i].used < images->entries[oldest].used)
        oldest = i;
    drop(images, oldest);
  }
}

static bool find_same(struct images *images, struct entry *wanted) {
  pthread_mutex_lock(&images->lock);
  struct entry *found = same_bytes(images, wanted->hash, wanted->bytes, wanted->size);
  if (found) {
    memcpy(wanted->id, found->id, ID_SIZE);
    wanted->image = sam3_image_share(found->image);
  }
  pthread_mutex_unlock(&images->lock);
  return found;
}

sam3_status images_add(struct images *images, const void *bytes, size_t size, char id[ID_SIZE], sam3_image **image,
                       struct sam3_error *err) {
  struct entry entry = {.hash = hash_of(bytes, size, images->seed), .bytes = (void *)bytes, .size = size};
  *image = NULL;
  if (!find_same(images, &entry)) {
    /* Two that send it at once both decode it; the later takes the id of the earlier. */
    TRY(sam3_image_decode(bytes, size, "the image", images->max_pixels, &entry.image, err));
    make_id(entry.id);
    entry.bytes = mem_alloc(size);
    if (!entry.bytes) {
      sam3_image_free(entry.image);
      return fail_memory(err, size, "an image");
    }
    memcpy(entry.bytes, bytes, size);
    entry.cost = size + 3 * (uint64_t)sam3_image_width(entry.image) * (uint64_t)sam3_image_height(entry.image);
    pthread_mutex_lock(&images->lock);
    struct entry *twin = same_bytes(images, entry.hash, bytes, size);
    if (twin) {
      free(entry.bytes);
      sam3_image_free(entry.image);
      entry = *twin;
    } else {
      make_room(images, entry.cost);
      entry.used = ++images->clock;
      images->bytes += entry.cost;
      images->entries[images->count++] = entry;
    }
    entry.image = sam3_image_share(entry.image);
    pthread_mutex_unlock(&images->lock);
  }
  memcpy(id, entry.id, ID_SIZE);
  *image = entry.image;
  return SAM3_OK;
}

static struct entry *by_id(struct images *images, const char *id) {
  for (size_t i = 0; i < images->count; i++)
    if (strcmp(images->entries[i].id, id) == 0)
      return &images->entries[i];
  return NULL;
}

sam3_image *images_find(struct images *images, const char *id) {
  pthread_mutex_lock(&images->lock);
  struct entry *entry = by_id(images, id);
  if (entry)
    entry->used = ++images->clock;
  sam3_image *image = entry ? sam3_image_share(entry->image) : NULL;
  pthread_mutex_unlock(&images->lock);
  return image;
}

bool images_remove(struct images *images, const char *id) {
  pthread_mutex_lock(&images->lock);
  struct entry *entry = by_id(images, id);
  if (entry)
    drop(images, (size_t)(entry - images->entries));
  pthread_mutex_unlock(&images->lock);
  return entry;
}

size_t images_count(struct images *images, uint64_t *bytes) {
  pthread_mutex_lock(&images->lock);
  *bytes = images->bytes;
  size_t count = images->count;
  pthread_mutex_unlock(&images->lock);
  return count;
}

void images_close(struct images *images) {
  if (!images)
    return;
  while (images->count)
    drop(images, images->count - 1);
  pthread_mutex_destroy(&images->lock);
  free(images);
}
