/* sam3_devices_describe: what there is to compute on. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "backend/cpu/cpu.h"
#include "base/error.h"

/* The value of `key` in a file of "key : value" lines, without the line feed. */
static bool read_field(const char *path, const char *key, char *value, size_t size) {
  char line[8192];
  bool found = false;
  FILE *file = fopen(path, "r");
  if (!file)
    return false;
  while (!found && fgets(line, sizeof line, file)) {
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, key, strlen(key)) != 0)
      continue;
    line[strcspn(line, "\n")] = '\0';
    snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
    found = true;
  }
  fclose(file);
  return found;
}

static bool has_word(const char *words, const char *word) {
  size_t n = strlen(word);
  for (const char *at = words; (at = strstr(at, word)); at += n)
    if ((at == words || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' '))
      return true;
  return false;
}

/* The instruction sets that matter here, as Linux names them on x86-64 and on arm64. */
static json_t *instructions(void) {
  static const char *const wanted[] = {"avx2",        "fma",      "f16c",     "avx512f",  "avx512_bf16",
                                       "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "asimd",
                                       "bf16",        "i8mm",     "sve"};
  json_t *list = json_array();
  char flags[8192];
  if (!read_field("/proc/cpuinfo", "flags", flags, sizeof flags) &&
      !read_field("/proc/cpuinfo", "Features", flags, sizeof flags))
    return list;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (has_word(flags, wanted[i]))
      json_array_append_new(list, json_string(wanted[i]));
  return list;
}

static json_t *cores(void) {
  json_t *list = json_array();
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; i++)
      if (CPU_ISSET(i, &set))
        json_array_append_new(list, json_integer(i));
  return list;
}

static json_int_t memory_bytes(const char *key) {
  char value[64];
  return read_field("/proc/meminfo", key, value, sizeof value) ? (json_int_t)strtoll(value, NULL, 10) * 1024 : 0;
}

sam3_status sam3_devices_describe(char **json, struct sam3_error *err) {
  char name[256] = "unknown";
  read_field("/proc/cpuinfo", "model name", name, sizeof name);
  json_t *root = json_pack("{s[{ss ss so so ss sI sI}]}", "devices", "device", "cpu", "name", name, "cores", cores(),
                           "instructions", instructions(), "kernels", cpu_variant_for(SAM3_F32)->name, "memory",
                           memory_bytes("MemTotal"), "memory_available", memory_bytes("MemAvailable"));
  *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
  json_decref(root);
  return *json ? SAM3_OK : fail(err, SAM3_ERR_MEMORY, "out of memory: the description of the devices");
}
