/* What a run does where it is split over ranks; nothing of it where it is alone. */
#include "model/run.h"

struct part part_of(const struct run *r, int64_t rows) {
  return part_of_rank(r->group ? r->group->rank : 0, r->group ? r->group->size : 1, rows, 1);
}

struct part part_of_map(const struct run *r, int64_t pixels) {
  return part_of_rank(r->group ? r->group->rank : 0, r->group ? r->group->size : 1, pixels,
                      pixels / r->net->config.vision.grid);
}

struct tensor take_shared(struct run *r, int64_t rows, int64_t cols) {
  return take_from(r->group ? r->shared : r->arena, rows, cols);
}

struct run_mark mark_run(const struct run *r) {
  return (struct run_mark){arena_mark(r->arena), r->group ? arena_mark(r->shared) : 0};
}

void release_run(struct run *r, struct run_mark mark) {
  if (r->group && arena_mark(r->shared) != mark.shared) {
    if (r->group->ops->one_memory)
      wait_for_all(r);
    arena_release(r->shared, mark.shared);
  }
  arena_release(r->arena, mark.own);
}

/* Behind a collective call: a group that is broken, or wishes to stop, cancels the run. An error of this rank's own
 * device breaks the group. Without the group nothing holds others off this rank's tensors, or it off theirs: what is
 * left of the stage is computed on a device that does nothing. */
static void heed(struct run *r, sam3_status status) {
  if (status != SAM3_OK) {
    r->group->ops->abandon(r->group, status, r->error.message);
    device_dry_init(&r->nowhere);
    r->dev = &r->nowhere.device;
    r->ops = r->dev->ops;
  }
  r->cancelled = r->cancelled || status != SAM3_OK || r->group->stopped;
}

/* A run whose group is broken goes on to the end of its stage without waiting for anyone. */
static bool together(const struct run *r) {
  return r->group && r->error.status == SAM3_OK;
}

void gather_all(struct run *r, const struct tensor *tensors, int n, struct part part) {
  if (together(r))
    heed(r, r->group->ops->all_gather(r->group, r->dev, tensors, n, part, &r->error));
}

void gather(struct run *r, struct tensor t, struct part part) {
  gather_all(r, &t, 1, part);
}

void broadcast(struct run *r, struct tensor t) {
  if (together(r))
    heed(r, r->group->ops->broadcast(r->group, r->dev, t, &r->error));
}

void wait_for_all(struct run *r) {
  if (together(r))
    heed(r, r->group->ops->barrier(r->group, &r->error));
}

sam3_status run_error(const struct run *r, struct sam3_error *err) {
  if (err && r->error.status != SAM3_OK)
    *err = r->error;
  return r->error.status;
}
