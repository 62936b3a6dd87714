/* Decoded images by id, the least recently used of which make room. The same bytes are the same image. */
#ifndef SAM3_SERVE_IMAGES_H
#define SAM3_SERVE_IMAGES_H

#include "sam3.h"

#define ID_SIZE 33 /* 32 hexadecimal digits and the NUL: 128 random bits */

/* Fills `id` with one that nobody can guess. */
void make_id(char id[ID_SIZE]);

struct images;

sam3_status images_open(uint64_t max_bytes, uint64_t max_pixels, struct images **images, struct sam3_error *err);
/* Decodes `bytes` unless they are known. Fills `id` and a share of the image, the caller's to free. */
sam3_status images_add(struct images *images, const void *bytes, size_t size, char id[ID_SIZE], sam3_image **image,
                       struct sam3_error *err);
/* A share of the image, the caller's to free; NULL when there is none of this id. */
sam3_image *images_find(struct images *images, const char *id);
/* False when there is none. */
bool images_remove(struct images *images, const char *id);
/* How many there are, and their bytes. */
size_t images_count(struct images *images, uint64_t *bytes);
void images_close(struct images *images);

#endif
