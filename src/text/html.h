/* HTML character references: &amp; &#38; &#x26; */
#ifndef SAM3_TEXT_HTML_H
#define SAM3_TEXT_HTML_H

#include <stddef.h>
#include <stdint.h>

/* Both write the `count` code points at `text`, with references replaced, to `out` and return how many that makes:
 * never more than there were, and `out` may be `text`. */

/* As Python's html.unescape: HTML5's rules, the final semicolon optional where HTML has it so. */
size_t html_unescape(const uint32_t *text, size_t count, uint32_t *out);

/* As ftfy's unescape_html: only references that end in a semicolon, but also names written in capitals (&EACUTE;). */
size_t html_unescape_closed(const uint32_t *text, size_t count, uint32_t *out);

/* What Windows-1252 has at 0x80..0x9f, where Unicode has control characters that nobody means. */
extern const uint16_t windows_1252[32];

#endif
