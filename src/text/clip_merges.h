/* CLIP's merges, packed into the library. */
#ifndef SAM3_TEXT_CLIP_MERGES_H
#define SAM3_TEXT_CLIP_MERGES_H

#include <stddef.h>

#include "sam3.h"

/* Unpacks them as the text of a merges.txt, `size` bytes; free it with free(). */
sam3_status clip_merges_unpack(char **text, size_t *size, struct sam3_error *err);

#endif
