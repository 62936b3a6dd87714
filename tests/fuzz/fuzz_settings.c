/* Any bytes as the server's settings; what is accepted is within its bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "serve/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
  if (!condition)
    abort();
}

static void check(const struct settings *settings) {
  for (size_t i = 0; i < n_all_settings; i++) {
    const struct setting *s = &all_settings[i];
    const void *field = (const char *)settings + s->offset;
    if (s->kind == SETTING_TEXT)
      require(*(char *const *)field);
    if (s->kind == SETTING_COUNT)
      require((double)*(const uint64_t *)field >= s->least && (double)*(const uint64_t *)field <= s->most);
    if (s->kind == SETTING_NUMBER)
      require(*(const double *)field >= s->least && *(const double *)field <= s->most);
    const struct text_list *list = field;
    for (size_t k = 0; s->kind == SETTING_LIST && k < list->count; k++)
      require(list->items[k]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[40];
  int file = memfd_create("sam3.yaml", MFD_CLOEXEC);
  if (file < 0 || write(file, data, size) != (ssize_t)size)
    abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  struct settings settings;
  struct sam3_error err = {0};
  require(settings_init(&settings, &err) == SAM3_OK);
  if (settings_read_file(&settings, path, &err) == SAM3_OK)
    check(&settings);
  else
    require(*err.message);
  settings_free(&settings);
  close(file);
  return 0;
}
