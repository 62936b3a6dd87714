/* Files that are part of the program: the page, the API's description, the glossary. */
#ifndef SAM3_SERVE_ASSETS_H
#define SAM3_SERVE_ASSETS_H

#include <stddef.h>

struct asset {
  const char *name, *type;
  const char *bytes;
  size_t size;
  const char *tag; /* changes with the bytes; in quotes */
};

extern const struct asset all_assets[]; /* made by embed.py */
extern const size_t n_all_assets;

/* NULL when there is none of this name. */
const struct asset *asset_find(const char *name);

#endif
