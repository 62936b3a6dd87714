/* Who does tasks together. */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"

#define SPLIT_TIMEOUT 120.0 /* seconds that workers wait for one another in a task that they do together */

size_t workers_left(const struct sam3_engine *engine) {
  size_t left = 0;
  for (size_t i = 0; i < engine->n_workers; i++)
    left += engine->workers[i].stats.state != SAM3_WORKER_DEAD;
  return left;
}

/* What a split over all workers takes is enough for fewer. */
static sam3_status make_team(struct worker *w, struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  struct team *team = mem_zeroed(1, sizeof *team);
  if (!team)
    return fail_memory(err, sizeof *team, "a team of workers");
  const struct split_size *size = &w->runner->split;
  team->slots.n = slots_in(engine->runner.cache_bytes, size->features);
  team->ranks = (int)workers_left(engine);
  enum split_among among = engine->parallel == SAM3_PARALLEL_PROCESSES ? SPLIT_AMONG_PROCESSES : SPLIT_AMONG_THREADS;
  sam3_status status = split_create(size, among, team->ranks, team->slots.n, SPLIT_TIMEOUT, &team->split, err);
  if (status == SAM3_OK)
    engine->team = team;
  else
    free(team);
  return status;
}

sam3_status team_join(struct worker *w, struct sam3_error *err) {
  struct sam3_engine *engine = w->engine;
  if (!engine->runner.ranks || workers_left(engine) < 2 || (engine->team && w->team == engine->team))
    return SAM3_OK;
  team_leave(w);
  if (!engine->team)
    TRY(make_team(w, err));
  w->team_rank = 0;
  for (const struct worker *other = engine->workers; other < w; other++)
    w->team_rank += other->stats.state != SAM3_WORKER_DEAD;
  TRY(w->runner->ops->join(w->runner, engine->team->split, w->team_rank, err));
  w->team = engine->team;
  w->team->users++;
  return SAM3_OK;
}

void team_leave(struct worker *w) {
  if (w->team)
    team_release(w->engine, w->team);
  w->team = NULL;
}

static void free_unused(struct team *team) {
  if (team->users)
    return;
  split_free(team->split);
  free(team);
}

void team_release(struct sam3_engine *engine, struct team *team) {
  team->users--;
  if (team != engine->team)
    free_unused(team);
}

void team_dissolve(struct sam3_engine *engine) {
  if (engine->team)
    free_unused(engine->team);
  engine->team = NULL;
}

bool team_is_whole(const struct sam3_engine *engine) {
  return engine->team && engine->team->users == (size_t)engine->team->ranks;
}
