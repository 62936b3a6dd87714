/* The server's settings: one table gives each its key in the file, its flag and its environment variable. */
#ifndef SAM3_SERVE_SETTINGS_H
#define SAM3_SERVE_SETTINGS_H

#include "sam3.h"

struct text_list {
  char **items;
  size_t count;
};

struct settings {
  char *model_path; /* "": $SAM3_MODEL, then the demo model */
  struct text_list device_ids;
  uint64_t num_workers;
  uint64_t batch_size_per_gpu;
  bool use_ddp;
  uint64_t schedule; /* sam3_schedule */
  uint64_t dtype;    /* sam3_dtype */
  uint64_t launcher; /* sam3_launcher */
  uint64_t master_port;
  char *host;
  uint64_t port;
  double threshold;
  char *log_file; /* "": standard error */
  struct text_list api_keys, allowed_hosts, cors_origins;
  uint64_t queue_requests, queue_bytes, cache_bytes, image_bytes;
  uint64_t max_body_bytes, max_pixels, max_prompts, max_connections, idle_seconds;
  double request_seconds, upload_seconds, drain_seconds;
};

/* What a person can set. */
struct setting {
  const char *key;     /* in the file; the flag has dashes, the variable is SAM3_ and capitals */
  const char *value;   /* what it takes, for the help: "N", "PATH" */
  const char *initial; /* the default, as it would stand in a file */
  const char *about;
  enum setting_kind { SETTING_TEXT, SETTING_LIST, SETTING_BOOL, SETTING_COUNT, SETTING_NUMBER, SETTING_CHOICE } kind;
  size_t offset;            /* in struct settings */
  double least, most;       /* of counts and numbers */
  const char *const *names; /* of choices, ends with NULL */
};

extern const struct setting all_settings[];
extern const size_t n_all_settings;

/* The defaults. Free with settings_free(). */
sam3_status settings_init(struct settings *settings, struct sam3_error *err);
/* Each sets what its source names; apply the weakest source first. Messages name the source and the key. */
sam3_status settings_read_file(struct settings *settings, const char *path, struct sam3_error *err);
sam3_status settings_read_environment(struct settings *settings, struct sam3_error *err);
sam3_status settings_set(struct settings *settings, const struct setting *setting, const char *text, const char *source,
                         struct sam3_error *err);
void settings_free(struct settings *settings);

#endif
