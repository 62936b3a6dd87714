/* Chinese phrases to the English that the model knows: words of a glossary, no grammar but the order of things. */
#ifndef SAM3_SERVE_TRANSLATE_H
#define SAM3_SERVE_TRANSLATE_H

#include "sam3.h"

/* Has a Han character. */
bool is_chinese(const char *text);

/* "红色的汽车" becomes "red car". Free with free(). SAM3_ERR_UNSUPPORTED names the part that is not known. */
sam3_status translate(const char *text, char **english, struct sam3_error *err);

#endif
