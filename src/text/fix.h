/* ftfy.fix_text without its repair of mojibake (text decoded in the wrong encoding). */
#ifndef SAM3_TEXT_FIX_H
#define SAM3_TEXT_FIX_H

#include "text/codepoints.h"

/* Writes the fixed `text` to `out`, which is empty before. Each line is passed through the fixers until it no longer
 * changes: character references (unless the text has a '<' so far), C1 controls, ligatures, widths, quotes, line
 * breaks, terminal escapes, control characters, NFC. SAM3_ERR_LIMIT when a line takes too many passes. */
sam3_status fix_text(const struct codepoints *text, struct codepoints *out, struct sam3_error *err);

#endif
