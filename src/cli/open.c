/* Finding the model, and opening it for work. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* The directory of the file `path`, relative to the directory of this program, when it is there. */
static bool file_at(const char *path, char found[PATH_MAX]) {
  char place[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", place, sizeof place - 1);
  if (length <= 0)
    return false;
  place[length] = '\0';
  char *slash = strrchr(place, '/'); /* the link's target is absolute */
  size_t room = (size_t)(place + sizeof place - slash);
  if ((size_t)snprintf(slash, room, "/%s", path) >= room || access(place, R_OK) != 0)
    return false;
  *strrchr(place, '/') = '\0';
  return realpath(place, found) != NULL;
}

/* The demo model: installed beside this program, or in the source tree that this program was built in. */
static bool find_demo(char found[PATH_MAX]) {
  if (file_at("../share/sam3/demo/config.json", found) || file_at("../../../models/demo/config.json", found))
    return true;
  return access(SAM3_DATADIR "/demo/config.json", R_OK) == 0 && realpath(SAM3_DATADIR "/demo", found);
}

int find_model(const char *path, char found[PATH_MAX], bool *demo) {
  const char *named = getenv("SAM3_MODEL");
  *demo = false;
  if (!path && named && *named) {
    path = named;
    say("using the model of $SAM3_MODEL: %s", path);
  }
  if (!path) {
    *demo = true;
    if (!find_demo(found)) {
      complain("no model: name one with -m MODEL or $SAM3_MODEL (a Hugging Face directory, a .safetensors file or "
               "sam3.pt); the demo model is not installed");
      return EXIT_FAILED;
    }
    say("using the demo model %s, which knows few things (sam3 info lists them); -m MODEL names another", found);
  } else if ((size_t)snprintf(found, PATH_MAX, "%s", path) >= PATH_MAX) {
    complain("%.100s...: the name of the model is too long", path);
    return EXIT_USAGE;
  }
  return EXIT_DONE;
}

bool find_samples(char found[PATH_MAX]) {
  return file_at("../share/sam3/samples/samples.json", found) ||
         file_at("../../../models/demo/samples/samples.json", found) ||
         (access(SAM3_DATADIR "/samples/samples.json", R_OK) == 0 && realpath(SAM3_DATADIR "/samples", found));
}

int open_model(const char *path, sam3_model **model) {
  char found[PATH_MAX];
  bool demo;
  struct sam3_error err;
  int code = find_model(path, found, &demo);
  if (code != EXIT_DONE)
    return code;
  path = found;
  return sam3_model_open(path, model, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}

int open_session(sam3_model *model, const struct model_flags *flags, sam3_session **session) {
  struct sam3_error err;
  struct sam3_session_options options = {.device = flags->device, .dtype = flags->dtype};
  return sam3_session_open(model, &options, session, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}

/* An engine's options, whose devices lie in `names`. */
static struct sam3_engine_options make_options(const struct model_flags *flags, const struct engine_flags *engine_flags,
                                               char **names) {
  const char **devices = NULL;
  size_t n = 0;
  *names = flags->device ? need(strdup(flags->device)) : NULL;
  for (char *at = *names, *name; (name = strsep(&at, ","));) {
    devices = grow(devices, n, sizeof *devices);
    devices[n++] = name;
  }
  return (struct sam3_engine_options){.devices = devices,
                                      .n_devices = n,
                                      .dtype = flags->dtype,
                                      .parallel = engine_flags->parallel,
                                      .schedule = engine_flags->schedule,
                                      .launch = &engine_flags->launch,
                                      .queue_bytes = UINT64_MAX, /* the caller reads few images ahead */
                                      .cache_bytes = 1};
}

static void free_options(const struct sam3_engine_options *options, char *names) {
  free((void *)options->devices);
  free(names);
}

/* The whole work of a rank other than 0, which says nothing but errors. */
static int serve_rank_0(const struct model_flags *flags, const struct engine_flags *engine_flags) {
  char model[PATH_MAX], *names;
  bool demo;
  struct sam3_error err;
  say_nothing();
  int code = find_model(flags->model, model, &demo);
  if (code != EXIT_DONE)
    return code;
  const struct sam3_engine_options options = make_options(flags, engine_flags, &names);
  code = sam3_launch_serve(&engine_flags->launch, model, &options, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
  free_options(&options, names);
  return code;
}

bool begin_launch(const struct model_flags *flags, struct engine_flags *engine_flags, int *code) {
  struct sam3_error err;
  *code = EXIT_DONE;
  if (sam3_launch_from_environment(engine_flags->launcher, &engine_flags->launch, &err) != SAM3_OK)
    *code = failed(&err);
  else if (engine_flags->launch.rank > 0)
    *code = serve_rank_0(flags, engine_flags);
  return *code == EXIT_DONE && engine_flags->launch.rank == 0;
}

int open_engine(const char *model_path, const struct model_flags *flags, const struct engine_flags *engine_flags,
                sam3_engine **engine) {
  char *names;
  struct sam3_error err;
  const struct sam3_launch *launch = &engine_flags->launch;
  const struct sam3_engine_options options = make_options(flags, engine_flags, &names);
  if (launch->size > 1)
    say("rank 0 of %d (%s); the others come to %s, port %d", launch->size, launch->launcher, launch->address,
        launch->port);
  int code = sam3_engine_open(model_path, &options, engine, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
  free_options(&options, names);
  return code;
}
