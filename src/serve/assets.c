#include "serve/assets.h"

#include <string.h>

const struct asset *asset_find(const char *name) {
  for (size_t i = 0; i < n_all_assets; i++)
    if (strcmp(all_assets[i].name, name) == 0)
      return &all_assets[i];
  return NULL;
}
