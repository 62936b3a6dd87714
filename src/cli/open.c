/* Finding the model, and opening it for work. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* `path` relative to the directory of this program, when a model is there. */
static bool demo_at(const char *path, char found[PATH_MAX]) {
  char place[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", place, sizeof place - 1);
  if (length <= 0)
    return false;
  place[length] = '\0';
  char *slash = strrchr(place, '/'); /* the link's target is absolute */
  size_t room = (size_t)(place + sizeof place - slash);
  if ((size_t)snprintf(slash, room, "/%s/config.json", path) >= room || access(place, R_OK) != 0)
    return false;
  *strrchr(place, '/') = '\0';
  return realpath(place, found) != NULL;
}

/* The demo model: installed beside this program, or in the source tree that this program was built in. */
static bool find_demo(char found[PATH_MAX]) {
  if (demo_at("../share/sam3/demo", found) || demo_at("../../../models/demo", found))
    return true;
  return access(SAM3_DATADIR "/demo/config.json", R_OK) == 0 && realpath(SAM3_DATADIR "/demo", found);
}

const char *find_model(const char *path, char room[PATH_MAX]) {
  const char *named = getenv("SAM3_MODEL");
  if (!path && named && *named) {
    path = named;
    say("using the model of $SAM3_MODEL: %s", path);
  }
  if (!path) {
    if (!find_demo(room)) {
      complain("no model: name one with -m MODEL or $SAM3_MODEL (a Hugging Face directory, a .safetensors file or "
               "sam3.pt); the demo model is not installed");
      return NULL;
    }
    path = room;
    say("using the demo model %s: small, and knows few things; -m MODEL names another", path);
  }
  return path;
}

int open_model(const char *path, sam3_model **model) {
  char room[PATH_MAX];
  struct sam3_error err;
  path = find_model(path, room);
  if (!path)
    return EXIT_FAILED;
  return sam3_model_open(path, model, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}

int open_session(sam3_model *model, const struct model_flags *flags, sam3_session **session) {
  struct sam3_error err;
  struct sam3_session_options options = {.device = flags->device, .dtype = flags->dtype};
  return sam3_session_open(model, &options, session, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}

int open_engine(const char *model_path, const struct model_flags *flags, const struct engine_flags *engine_flags,
                sam3_engine **engine) {
  struct sam3_error err;
  char *names = need(strdup(flags->device ? flags->device : "cpu"));
  const char **devices = NULL;
  size_t n = 0;
  for (char *at = names, *name; (name = strsep(&at, ","));) {
    devices = grow(devices, n, sizeof *devices);
    devices[n++] = name;
  }
  struct sam3_engine_options options = {.devices = devices,
                                        .n_devices = n,
                                        .dtype = flags->dtype,
                                        .parallel = engine_flags->parallel,
                                        .schedule = engine_flags->schedule,
                                        .queue_bytes = UINT64_MAX, /* the caller reads few images ahead */
                                        .cache_bytes = 1};
  int code = sam3_engine_open(model_path, &options, engine, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
  free(devices);
  free(names);
  return code;
}
