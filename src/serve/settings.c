/* One YAML file, the environment and flags, all through one table. The file is read with libyaml's events, so that
 * every message has its line. */
#include "serve/settings.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/error.h"
#include "base/memory.h"

static const char *const schedules[] = {"auto", "replicate", "split", NULL}; /* in the order of sam3_schedule */
static const char *const launchers[] = {"auto", "none", "env", NULL};        /* in the order of sam3_launcher */
static const char *const dtypes[] = {"f32", "bf16", "f16", NULL};            /* in the order of sam3_dtype */

#define AT(field) offsetof(struct settings, field)
#define MOST_BYTES 1e15

const struct setting all_settings[] = {
    {"model_path", "PATH", "", "the model (default: $SAM3_MODEL, then the demo model)", SETTING_TEXT, AT(model_path)},
    {"device_ids", "LIST", "[]", "devices: numbers or names, as 0,1 or cpu:0-3,cpu:4-7 (default: cpu, all cores)",
     SETTING_LIST, AT(device_ids)},
    {"num_workers", "N", "8", "threads that decode images", SETTING_COUNT, AT(num_workers), 1, 256},
    {"batch_size_per_gpu", "N", "2", "requests on encoded images that a device does in a row before it encodes another",
     SETTING_COUNT, AT(batch_size_per_gpu), 1, 1024},
    {"use_ddp", "BOOL", "true", "a process for each device, when there are several", SETTING_BOOL, AT(use_ddp)},
    {"schedule", "NAME", "auto", "how devices share work: auto, replicate or split", SETTING_CHOICE, AT(schedule),
     .names = schedules},
    {"dtype", "NAME", "f32", "what to compute in: f32, bf16 or f16", SETTING_CHOICE, AT(dtype), .names = dtypes},
    {"launcher", "NAME", "auto", "whether torchrun, mpirun or srun has started this: auto, none, or env: believe RANK",
     SETTING_CHOICE, AT(launcher), .names = launchers},
    {"master_port", "PORT", "29500", "where a launcher's processes meet; where MASTER_PORT is set, the port above it",
     SETTING_COUNT, AT(master_port), 1, 65535},
    {"host", "ADDRESS", "127.0.0.1", "the address to serve on; 0.0.0.0 is every one", SETTING_TEXT, AT(host)},
    {"port", "PORT", "7860", "the port to serve on; 0 takes a free one", SETTING_COUNT, AT(port), 0, 65535},
    {"threshold", "SCORE", "0.5", "for requests that name none, 0 to 1", SETTING_NUMBER, AT(threshold), 0, 1},
    {"log_file", "PATH", "", "the log, JSON lines (default: standard error)", SETTING_TEXT, AT(log_file)},
    {"api_keys", "LIST", "[]", "keys, one of which a request to /v1 must have", SETTING_LIST, AT(api_keys)},
    {"allowed_hosts", "LIST", "[]", "names of this server, beside its addresses and localhost; * is any", SETTING_LIST,
     AT(allowed_hosts)},
    {"cors_origins", "LIST", "[]", "origins whose pages may call this server", SETTING_LIST, AT(cors_origins)},
    {"queue_requests", "N", "256", "requests that may wait", SETTING_COUNT, AT(queue_requests), 1, 1e6},
    {"queue_bytes", "BYTES", "1000000000", "of requests that arrive or wait", SETTING_COUNT, AT(queue_bytes), 1e6,
     MOST_BYTES},
    {"cache_bytes", "BYTES", "512000000", "of encoded images, for each device", SETTING_COUNT, AT(cache_bytes), 1,
     MOST_BYTES},
    {"image_bytes", "BYTES", "1000000000", "of images kept by their id", SETTING_COUNT, AT(image_bytes), 1e6,
     MOST_BYTES},
    {"max_body_bytes", "BYTES", "64000000", "of one request", SETTING_COUNT, AT(max_body_bytes), 1000, 2e9},
    {"max_pixels", "N", "100000000", "of one image", SETTING_COUNT, AT(max_pixels), 1, 1e9},
    {"max_prompts", "N", "32", "of one request", SETTING_COUNT, AT(max_prompts), 1, 1e4},
    {"max_connections", "N", "1000", "at a time", SETTING_COUNT, AT(max_connections), 4, 1e5},
    {"request_seconds", "S", "300", "from the whole request to its answer; 0: no limit", SETTING_NUMBER,
     AT(request_seconds), 0, 86400},
    {"upload_seconds", "S", "60", "for a request to arrive", SETTING_NUMBER, AT(upload_seconds), 0.1, 86400},
    {"idle_seconds", "S", "75", "for a connection between requests", SETTING_COUNT, AT(idle_seconds), 1, 86400},
    {"drain_seconds", "S", "30", "for running requests when the server is told to end", SETTING_NUMBER,
     AT(drain_seconds), 0, 86400},
};
const size_t n_all_settings = sizeof all_settings / sizeof *all_settings;

static void list_free(struct text_list *list) {
  for (size_t i = 0; i < list->count; i++)
    free(list->items[i]);
  free(list->items);
  *list = (struct text_list){0};
}

static sam3_status list_add(struct text_list *list, const char *text, size_t size, struct sam3_error *err) {
  char **items = mem_resize(list->items, list->count + 1, sizeof *items);
  if (!items)
    return fail_memory(err, (list->count + 1) * sizeof *items, "a list of settings");
  list->items = items;
  char *copy = mem_alloc(size + 1);
  if (!copy)
    return fail_memory(err, size + 1, "a setting");
  memcpy(copy, text, size);
  copy[size] = '\0';
  items[list->count++] = copy;
  return SAM3_OK;
}

/* "0,2" or "[0, 2]" */
static sam3_status list_split(struct text_list *list, const char *text, struct sam3_error *err) {
  static const char around[] = " \t[]\"'";
  for (const char *at = text; *at;) {
    size_t size = strcspn(at, ",");
    const char *begin = at, *end = at + size;
    while (begin < end && strchr(around, *begin))
      begin++;
    while (end > begin && strchr(around, end[-1]))
      end--;
    if (end > begin)
      TRY(list_add(list, begin, (size_t)(end - begin), err));
    at += size + (at[size] == ',');
  }
  return SAM3_OK;
}

static bool parse_bool(const char *text, bool *value) {
  static const char *const yes[] = {"true", "yes", "on", "1", "True"}, *const no[] = {"false", "no", "off", "0",
                                                                                      "False"};
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
    if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
      *value = !strcmp(text, yes[i]);
      return true;
    }
  return false;
}

static bool parse_count(const char *text, const struct setting *s, uint64_t *value) {
  char *end;
  errno = 0;
  unsigned long long n = strtoull(text, &end, 10);
  *value = n;
  return text[0] >= '0' && text[0] <= '9' && !*end && !errno && (double)n >= s->least && (double)n <= s->most;
}

static bool parse_number(const char *text, const struct setting *s, double *value) {
  char *end;
  double x = strtod(text, &end);
  *value = x;
  return end != text && !*end && x >= s->least && x <= s->most;
}

static sam3_status set_choice(uint64_t *field, const struct setting *s, const char *text, const char *source,
                              struct sam3_error *err) {
  char all[100] = "";
  for (uint64_t i = 0; s->names[i]; i++) {
    if (strcmp(text, s->names[i]) == 0) {
      *field = i;
      return SAM3_OK;
    }
    size_t length = strlen(all);
    snprintf(all + length, sizeof all - length, "%s%s", i ? ", " : "", s->names[i]);
  }
  return fail(err, SAM3_ERR_ARGUMENT, "%s: %s: '%s' is not one of %s", source, s->key, text, all);
}

sam3_status settings_set(struct settings *settings, const struct setting *s, const char *text, const char *source,
                         struct sam3_error *err) {
  void *field = (char *)settings + s->offset;
  switch (s->kind) {
  case SETTING_TEXT: {
    char *copy = mem_strdup(text);
    if (!copy)
      return fail_memory(err, strlen(text), s->key);
    free(*(char **)field);
    *(char **)field = copy;
    return SAM3_OK;
  }
  case SETTING_LIST:
    list_free(field);
    return list_split(field, text, err);
  case SETTING_BOOL:
    return parse_bool(text, field)
               ? SAM3_OK
               : fail(err, SAM3_ERR_ARGUMENT, "%s: %s: '%s' is neither true nor false", source, s->key, text);
  case SETTING_COUNT:
    return parse_count(text, s, field)
               ? SAM3_OK
               : fail(err, SAM3_ERR_ARGUMENT, "%s: %s: '%s' is not a whole number from %.0f to %.0f", source, s->key,
                      text, s->least, s->most);
  case SETTING_NUMBER:
    return parse_number(text, s, field) ? SAM3_OK
                                        : fail(err, SAM3_ERR_ARGUMENT, "%s: %s: '%s' is not a number from %g to %g",
                                               source, s->key, text, s->least, s->most);
  case SETTING_CHOICE:
    return set_choice(field, s, text, source, err);
  }
  return SAM3_OK;
}

sam3_status settings_init(struct settings *settings, struct sam3_error *err) {
  *settings = (struct settings){0};
  for (size_t i = 0; i < n_all_settings; i++) {
    sam3_status status = settings_set(settings, &all_settings[i], all_settings[i].initial, "default", err);
    if (status != SAM3_OK) {
      settings_free(settings);
      return status;
    }
  }
  return SAM3_OK;
}

void settings_free(struct settings *settings) {
  for (size_t i = 0; i < n_all_settings; i++) {
    void *field = (char *)settings + all_settings[i].offset;
    if (all_settings[i].kind == SETTING_TEXT)
      free(*(char **)field);
    if (all_settings[i].kind == SETTING_LIST)
      list_free(field);
  }
  *settings = (struct settings){0};
}

sam3_status settings_read_environment(struct settings *settings, struct sam3_error *err) {
  for (size_t i = 0; i < n_all_settings; i++) {
    char name[64] = "SAM3_";
    for (size_t k = 0; all_settings[i].key[k]; k++) {
      char c = all_settings[i].key[k];
      name[5 + k] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
      name[6 + k] = '\0';
    }
    const char *text = getenv(name);
    char source[80];
    snprintf(source, sizeof source, "$%s", name);
    if (text && *text)
      TRY(settings_set(settings, &all_settings[i], text, source, err));
  }
  return SAM3_OK;
}

/* ---- the file: a mapping of keys to scalars, or to sequences of scalars ---- */

struct reader {
  yaml_parser_t parser;
  yaml_event_t event;
  bool has_event;
  const char *path;
  char source[200]; /* "sam3.yaml: line 3" of the last event */
};

static sam3_status next(struct reader *r, struct sam3_error *err) {
  if (r->has_event)
    yaml_event_delete(&r->event);
  r->has_event = yaml_parser_parse(&r->parser, &r->event);
  if (!r->has_event)
    return fail(err, SAM3_ERR_FORMAT, "%s: line %zu: not YAML: %s", r->path, r->parser.problem_mark.line + 1,
                r->parser.problem ? r->parser.problem : "unreadable");
  snprintf(r->source, sizeof r->source, "%.160s: line %zu", r->path, r->event.start_mark.line + 1);
  return SAM3_OK;
}

static const char *scalar(const struct reader *r) {
  return (const char *)r->event.data.scalar.value;
}

static const struct setting *find(const char *key) {
  for (size_t i = 0; i < n_all_settings; i++)
    if (strcmp(all_settings[i].key, key) == 0)
      return &all_settings[i];
  return NULL;
}

/* The value of a list; the event is its start. */
static sam3_status read_list(struct reader *r, const struct setting *s, struct text_list *list,
                             struct sam3_error *err) {
  list_free(list);
  for (;;) {
    TRY(next(r, err));
    if (r->event.type == YAML_SEQUENCE_END_EVENT)
      return SAM3_OK;
    if (r->event.type != YAML_SCALAR_EVENT)
      return fail(err, SAM3_ERR_ARGUMENT, "%s: %s: not a list of texts or numbers", r->source, s->key);
    TRY(list_add(list, scalar(r), r->event.data.scalar.length, err));
  }
}

static sam3_status read_pair(struct reader *r, struct settings *settings, bool *seen, struct sam3_error *err) {
  if (r->event.type != YAML_SCALAR_EVENT)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: a key is not a text", r->source);
  const struct setting *s = find(scalar(r));
  if (!s)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: unknown key '%.60s' (sam3 serve --help lists all)", r->source, scalar(r));
  if (seen[s - all_settings])
    return fail(err, SAM3_ERR_ARGUMENT, "%s: %s: given twice", r->source, s->key);
  seen[s - all_settings] = true;
  TRY(next(r, err));
  if (r->event.type == YAML_SEQUENCE_START_EVENT && s->kind == SETTING_LIST)
    return read_list(r, s, (struct text_list *)((char *)settings + s->offset), err);
  if (r->event.type != YAML_SCALAR_EVENT)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: %s: not %s", r->source, s->key,
                s->kind == SETTING_LIST ? "a list of texts or numbers" : "a single value");
  bool null =
      r->event.data.scalar.plain_implicit && (!*scalar(r) || !strcmp(scalar(r), "~") || !strcmp(scalar(r), "null"));
  return settings_set(settings, s, null ? s->initial : scalar(r), r->source, err);
}

static sam3_status read_all(struct reader *r, struct settings *settings, struct sam3_error *err) {
  bool seen[sizeof all_settings / sizeof *all_settings] = {0};
  TRY(next(r, err)); /* stream start */
  TRY(next(r, err)); /* document start, or the end of an empty file */
  if (r->event.type == YAML_STREAM_END_EVENT)
    return SAM3_OK;
  TRY(next(r, err));
  if (r->event.type == YAML_SCALAR_EVENT && !*scalar(r)) /* comments only, after --- */
    return SAM3_OK;
  if (r->event.type != YAML_MAPPING_START_EVENT)
    return fail(err, SAM3_ERR_ARGUMENT, "%s: not settings, key: value", r->source);
  for (;;) {
    TRY(next(r, err));
    if (r->event.type == YAML_MAPPING_END_EVENT)
      break;
    TRY(read_pair(r, settings, seen, err));
  }
  TRY(next(r, err)); /* document end */
  TRY(next(r, err));
  return r->event.type == YAML_STREAM_END_EVENT
             ? SAM3_OK
             : fail(err, SAM3_ERR_ARGUMENT, "%s: a second document: settings are one", r->source);
}

sam3_status settings_read_file(struct settings *settings, const char *path, struct sam3_error *err) {
  FILE *file = fopen(path, "re");
  if (!file)
    return fail(err, SAM3_ERR_IO, "%s: %s", path, strerror(errno));
  struct reader r = {.path = path};
  sam3_status status = SAM3_ERR_MEMORY;
  if (!yaml_parser_initialize(&r.parser)) {
    fail_memory(err, sizeof r.parser, path);
  } else {
    yaml_parser_set_input_file(&r.parser, file);
    status = read_all(&r, settings, err);
    if (r.has_event)
      yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
  }
  fclose(file);
  return status;
}
