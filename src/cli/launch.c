#include "cli/launch.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_LAUNCHER = 768 };

static const char *const launchers[] = {
    [SAM3_LAUNCHER_AUTO] = "auto", [SAM3_LAUNCHER_NONE] = "none", [SAM3_LAUNCHER_ENVIRONMENT] = "env"};
enum { N_LAUNCHERS = sizeof launchers / sizeof *launchers };

/* -1: there is none of that name. */
static int find_launcher(const char *name) {
  for (int i = 0; i < N_LAUNCHERS; i++)
    if (strcmp(name, launchers[i]) == 0)
      return i;
  return -1;
}

static error_t parse(int key, char *value, struct argp_state *state) {
  struct launch_flags *flags = state->input;
  if (key != KEY_LAUNCHER)
    return ARGP_ERR_UNKNOWN;
  if (find_launcher(value) < 0)
    argp_error(state, "--launcher %s: not one of auto, none, env", value);
  flags->name = value;
  return 0;
}

const struct argp launch_argp = {
    .options = (const struct argp_option[]){{"launcher", KEY_LAUNCHER, "HOW", 0,
                                             "whether torchrun, mpirun or srun has started this: auto (default, or "
                                             "$SAM3_LAUNCHER), none, or env: believe RANK and WORLD_SIZE",
                                             11},
                                            {0}},
    .parser = parse};

static int serve(const struct sam3_launch *launch, const char *model_path, const struct sam3_engine_options *options) {
  struct sam3_error err;
  return sam3_launch_serve(launch, model_path, options, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}

/* Says what this process computes on; fails when it has no device. */
static int announce(const struct sam3_launch *launch, const struct sam3_engine_options *options) {
  char device[64];
  struct sam3_error err;
  if (sam3_launch_device(launch, options->devices, options->n_devices, device, &err) != SAM3_OK)
    return failed(&err);
  say("rank 0 of %d (%s), on %s; the others come to %s, port %d", launch->size, launch->launcher, device,
      launch->address, launch->port);
  return EXIT_DONE;
}

bool launch_begin(struct launch_flags *flags, const char *model_path, const char *devices, int *code) {
  struct sam3_launch *launch = &flags->launch;
  struct sam3_error err;
  const char *set = getenv("SAM3_LAUNCHER"), *name = flags->name ? flags->name : set && *set ? set : launchers[0];
  int launcher = find_launcher(name);
  *code = EXIT_USAGE;
  if (launcher < 0) {
    complain("SAM3_LAUNCHER is \"%s\": not one of auto, none, env", name);
    return false;
  }
  *code = EXIT_DONE;
  if (sam3_launch_from_environment((sam3_launcher)launcher, launch, &err) != SAM3_OK)
    *code = failed(&err);
  if (*code != EXIT_DONE || launch->size == 1)
    return *code == EXIT_DONE;

  char *names = devices ? need(strdup(devices)) : NULL;
  const char **list = NULL;
  size_t n = 0;
  for (char *at = names, *device; (device = strsep(&at, ","));) {
    list = grow(list, n, sizeof *list);
    list[n++] = device;
  }
  const struct sam3_engine_options options = {.devices = list, .n_devices = n};
  *code = launch->rank > 0 ? serve(launch, model_path, &options) : announce(launch, &options);
  bool go_on = launch->rank == 0 && *code == EXIT_DONE;
  free(list);
  free(names);
  return go_on;
}
