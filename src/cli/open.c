/* Finding and opening the model. */
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

int open_model(const char *path, sam3_model **model) {
  char demo[PATH_MAX];
  const char *named = getenv("SAM3_MODEL");
  if (!path && named && *named) {
    path = named;
    say("using the model of $SAM3_MODEL: %s", path);
  }
  if (!path) {
    if (!find_demo(demo)) {
      complain("no model: name one with -m MODEL or $SAM3_MODEL (a Hugging Face directory, a .safetensors file or "
               "sam3.pt); the demo model is not installed");
      return EXIT_FAILED;
    }
    path = demo;
    say("using the demo model %s: small, and knows few things; -m MODEL names another", path);
  }
  struct sam3_error err;
  return sam3_model_open(path, model, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}

int open_session(sam3_model *model, const struct model_flags *flags, sam3_session **session) {
  struct sam3_error err;
  struct sam3_session_options options = {.device = flags->device, .dtype = flags->dtype};
  return sam3_session_open(model, &options, session, &err) == SAM3_OK ? EXIT_DONE : failed(&err);
}
