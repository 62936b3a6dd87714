/* How far a call is: the stages' shares of the time, measured at full size on a CPU. */
#include <string.h>

#include "engine/session.h"

struct share {
  const char *stage;
  double begin, size;
};

static double fraction_of(const struct share *shares, size_t n, const char *stage, double fraction) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(shares[i].stage, stage) == 0)
      return shares[i].begin + shares[i].size * fraction;
  return 0;
}

double encode_fraction(const char *stage, double fraction) {
  static const struct share shares[] = {
      {"vision", 0, 0.94}, {"neck", 0.94, 0.04}, {"begin", 0.98, 0.02}, {"geometry", 0.98, 0.02}};
  return fraction_of(shares, sizeof shares / sizeof *shares, stage, fraction);
}

double prompt_fraction(const char *stage, double fraction) {
  static const struct share shares[] = {{"text", 0, 0.06},
                                        {"geometry", 0.06, 0.04},
                                        {"fusion", 0.10, 0.62},
                                        {"decoder", 0.72, 0.08},
                                        {"masks", 0.80, 0.20}};
  return fraction_of(shares, sizeof shares / sizeof *shares, stage, fraction);
}

static bool tell(void *user, const char *stage, double fraction) {
  const struct watcher *w = user;
  return w->session->progress(w->session->user, stage, (w->index + w->share(stage, fraction)) / w->count);
}

const struct observer *session_watch(sam3_session *session, struct watcher *watcher,
                                     double (*share)(const char *stage, double fraction), double index, double count) {
  *watcher = (struct watcher){.observer = {.progress = tell, .user = watcher},
                              .session = session,
                              .share = share,
                              .index = index,
                              .count = count};
  return session->observer ? session->observer : session->progress ? &watcher->observer : NULL;
}
