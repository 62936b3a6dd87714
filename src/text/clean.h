/* Text cleaning as the original does it before byte-pair encoding. */
#ifndef SAM3_TEXT_CLEAN_H
#define SAM3_TEXT_CLEAN_H

#include "text/codepoints.h"

#define MAX_TEXT (4u << 20) /* bytes */

/* Cleans the UTF-8 `text` of `length` bytes: ftfy's fixes but for mojibake, HTML's character references undone twice,
 * runs of white space made one space and none at the ends, lower case. Writes to `clean`, which is empty before and the
 * caller's to free. SAM3_ERR_FORMAT names the offset of the first byte that is not UTF-8, SAM3_ERR_LIMIT a text longer
 * than MAX_TEXT. */
sam3_status clean_text(const char *text, size_t length, struct codepoints *clean, struct sam3_error *err);

#endif
