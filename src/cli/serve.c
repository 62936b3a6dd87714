/* sam3 serve: the web page and the HTTP API. */
#include "serve/serve.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/vocabulary.h"

enum { KEY_FIRST = 256 }; /* of the flags that settings have */

struct flag {
  const struct setting *setting;
  const char *value;
};

struct serve {
  const char *file;
  struct flag *flags; /* as given */
  size_t n_flags;
  struct sam3_launch launch;
};

static const char doc[] =
    "Serves the web page and the HTTP API, until it gets SIGTERM; requests that run then may end. SIGHUP opens the log "
    "anew and reads API keys and threshold again.\n"
    "\v"
    "A setting is a flag, or an environment variable (--log-file is $SAM3_LOG_FILE), or a key of the YAML file "
    "(log_file), or has its default; the first of these counts.\n"
    "\n"
    "Examples:\n"
    "  sam3 serve\n"
    "  sam3 serve -c sam3.yaml --port 8000 --device-ids cpu:0-3,cpu:4-7\n"
    "\n"
    "Exit status: 0 ended by a signal, 1 failed, 2 wrong usage.";

static error_t parse(int key, char *value, struct argp_state *state) {
  struct serve *run = state->input;
  const char *name = NULL;
  if (key == 'c')
    run->file = value;
  else if (key == 'm')
    name = "model_path";
  else if (key == 'd')
    name = "device_ids";
  else if (key == ARGP_KEY_ARG)
    argp_error(state, "unexpected argument %s", value);
  else if (key < KEY_FIRST || key >= KEY_FIRST + (int)n_all_settings)
    return ARGP_ERR_UNKNOWN;
  for (size_t i = 0; i < n_all_settings; i++)
    if (name ? strcmp(all_settings[i].key, name) == 0 : key == KEY_FIRST + (int)i) {
      run->flags = grow(run->flags, run->n_flags, sizeof *run->flags);
      run->flags[run->n_flags++] = (struct flag){&all_settings[i], value};
    }
  return 0;
}

/* All sources, the weakest first. */
static sam3_status read_settings(void *user, struct settings *settings, struct sam3_error *err) {
  const struct serve *run = user;
  sam3_status status = settings_init(settings, err);
  if (status == SAM3_OK && run->launch.size > 1) /* stands in for the default */
    settings->master_port = (uint64_t)run->launch.port;
  if (status == SAM3_OK && run->file)
    status = settings_read_file(settings, run->file, err);
  if (status == SAM3_OK)
    status = settings_read_environment(settings, err);
  for (size_t i = 0; status == SAM3_OK && i < run->n_flags; i++) {
    char source[64];
    snprintf(source, sizeof source, "--%s", run->flags[i].setting->key);
    for (char *c = source; *c; c++)
      *c = *c == '_' ? '-' : *c;
    status = settings_set(settings, run->flags[i].setting, run->flags[i].value, source, err);
  }
  if (status != SAM3_OK)
    settings_free(settings);
  return status;
}

static void say_line(const char *text) {
  say("%s", text);
}

static int serve(struct serve *run) {
  struct sam3_error err;
  struct settings settings;
  char model[PATH_MAX], samples[PATH_MAX];
  bool demo;
  if (read_settings(run, &settings, &err) != SAM3_OK)
    return failed(&err);
  if (sam3_launch_from_environment((sam3_launcher)settings.launcher, &run->launch, &err) != SAM3_OK) {
    settings_free(&settings);
    return failed(&err);
  }
  if (run->launch.rank > 0)
    say_nothing();
  int code = find_model(*settings.model_path ? settings.model_path : NULL, model, &demo);
  settings_free(&settings);
  if (code != EXIT_DONE)
    return code;
  json_t *vocabulary = load_vocabulary(model), *names = vocabulary ? vocabulary_names(vocabulary) : NULL;
  char *concepts = names ? need(json_dumps(names, 0)) : NULL;
  json_decref(names);
  json_decref(vocabulary);
  struct serve_options options = {.settings = read_settings,
                                  .user = run,
                                  .model = model,
                                  .demo = demo,
                                  .launch = &run->launch,
                                  .vocabulary = concepts,
                                  .samples = find_samples(samples) ? samples : NULL,
                                  .say = say_line};
  code = serve_run(&options, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
  free(concepts);
  return code;
}

/* The flags of the settings, as argp takes them. */
static struct argp_option *make_options(void) {
  struct argp_option *options = need(calloc(n_all_settings + 4, sizeof *options));
  options[0] = (struct argp_option){"config", 'c', "FILE", 0, "settings, as YAML", 1};
  options[1] = (struct argp_option){"model", 'm', "MODEL", 0, "the same as --model-path", 1};
  options[2] = (struct argp_option){"device", 'd', "DEVICES", 0, "the same as --device-ids", 1};
  for (size_t i = 0; i < n_all_settings; i++) {
    const struct setting *s = &all_settings[i];
    char *name = need(strdup(s->key)), *about = NULL;
    for (char *c = name; *c; c++)
      *c = *c == '_' ? '-' : *c;
    bool tell = *s->initial && strcmp(s->initial, "[]") != 0;
    need(asprintf(&about, tell ? "%s (default %s)" : "%s", s->about, s->initial) < 0 ? NULL : about);
    options[3 + i] = (struct argp_option){name, KEY_FIRST + (int)i, s->value, 0, about, 2};
  }
  return options;
}

static void free_options(struct argp_option *options) {
  for (size_t i = 0; i < n_all_settings; i++) {
    free((char *)options[3 + i].name);
    free((char *)options[3 + i].doc);
  }
  free(options);
}

int serve_main(int argc, char **argv) {
  struct serve run = {0};
  struct argp_option *options = make_options();
  const struct argp_child children[] = {{&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);
  int code = serve(&run);
  free(run.flags);
  free_options(options);
  return code;
}
