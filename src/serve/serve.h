/* The HTTP server: what `sam3 serve` runs. */
#ifndef SAM3_SERVE_SERVE_H
#define SAM3_SERVE_SERVE_H

#include "serve/settings.h"

struct serve_options {
  /* Fills settings from all sources, anew on SIGHUP. */
  sam3_status (*settings)(void *user, struct settings *settings, struct sam3_error *err);
  void *user;
  const char *model; /* path that `model_path` came to */
  bool demo;
  const struct sam3_launch *launch;
  const char *vocabulary; /* JSON array of the concepts that the model knows; NULL: any */
  const char *samples;    /* directory of sample images with samples.json, or NULL */
  /* Lines for people. */
  void (*say)(const char *text);
};

/* Serves until SIGTERM or SIGINT, then lets running requests end. The signals' actions stay changed. */
sam3_status serve_run(const struct serve_options *options, struct sam3_error *err);

#endif
