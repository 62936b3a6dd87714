#include "engine/split.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

#define MAGIC 0x53414d33u /* "SAM3" */
#define PAGE 4096

/* At the head of the memory; behind it the state of the group, the shared arena, and the slots of features. Everything
 * is found by offset: the ranks map it at different addresses. */
struct header {
  uint32_t magic, images;
  uint64_t total;
  struct split_size size; /* rounded up to pages */
};

struct split {
  int fd; /* -1: among threads */
  unsigned char *base;
  uint64_t total;
};

static uint64_t pages(uint64_t size) {
  return (size + PAGE - 1) / PAGE * PAGE;
}

static struct header *header(const struct split *split) {
  return (struct header *)split->base;
}

static struct shared_group *group_state(const struct split *split) {
  return (struct shared_group *)(split->base + PAGE);
}

static uint64_t arena_at(void) {
  return PAGE + pages(shared_group_size());
}

static uint64_t features_at(const struct header *h, int slot) {
  return arena_at() + h->size.activations + (uint64_t)slot * h->size.features;
}

sam3_status split_measure(sam3_session *session, int ranks, struct split_size *size, struct sam3_error *err) {
  struct image_features tensors;
  *size = (struct split_size){0};
  if (ranks < 1 || ranks > GROUP_MAX)
    return fail(err, SAM3_ERR_LIMIT, "a split over %d devices: 1 to %d are possible", ranks, GROUP_MAX);
  for (int rank = 0; rank < ranks; rank++) {
    struct group group = group_dry(rank, ranks);
    size_t own = 0, shared = 0;
    TRY(session_measure(session, &group, &own, &shared, err));
    if (own > session->arena.size || (rank > 0 && shared != size->activations))
      return fail(err, SAM3_ERR_UNSUPPORTED,
                  "rank %d of %d would need %zu bytes of its own and %zu shared: not as planned", rank, ranks, own,
                  shared);
    size->activations = shared;
  }
  size->features = features_layout(&session->model->network.config, &tensors, NULL);
  return SAM3_OK;
}

static sam3_status map(struct split *split, struct sam3_error *err) {
  split->base = split->fd < 0 ? mem_pages(split->total) : mem_map_shared(split->fd, split->total);
  return split->base ? SAM3_OK : fail_memory(err, split->total, "the shared memory of a split");
}

static sam3_status create(struct split *split, const struct split_size *size, enum split_among among, int ranks,
                          int images, double timeout, struct sam3_error *err) {
  struct header h = {MAGIC, (uint32_t)images, 0, {pages(size->activations), pages(size->features)}};
  h.total = split->total = features_at(&h, images);
  if (among == SPLIT_AMONG_PROCESSES && (split->fd = mem_shared_file(split->total)) < 0)
    return fail_memory(err, split->total, "the shared memory of a split");
  TRY(map(split, err));
  *header(split) = h;
  shared_group_init(group_state(split), ranks, timeout);
  return SAM3_OK;
}

sam3_status split_create(const struct split_size *size, enum split_among among, int ranks, int images, double timeout,
                         struct split **out, struct sam3_error *err) {
  *out = NULL;
  if (ranks < 1 || ranks > GROUP_MAX || images < 1 || !(timeout > 0))
    return fail(err, SAM3_ERR_ARGUMENT, "a split over %d devices (1 to %d) for %d images with a time limit of %g s",
                ranks, GROUP_MAX, images, timeout);
  struct split *split = mem_zeroed(1, sizeof *split);
  if (!split)
    return fail_memory(err, sizeof *split, "a split");
  split->fd = -1;
  sam3_status status = create(split, size, among, ranks, images, timeout, err);
  if (status == SAM3_OK)
    *out = split;
  else
    split_free(split);
  return status;
}

/* The descriptor must be of a split, whole and of this version. */
static sam3_status attach(struct split *split, int fd, struct sam3_error *err) {
  struct stat info;
  split->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (split->fd < 0 || fstat(split->fd, &info) != 0)
    return fail(err, SAM3_ERR_IO, "descriptor %d of a split cannot be used", fd);
  split->total = (uint64_t)info.st_size;
  if (split->total < arena_at())
    return fail(err, SAM3_ERR_FORMAT, "descriptor %d is not of a split", fd);
  TRY(map(split, err));
  if (header(split)->magic != MAGIC || header(split)->total != split->total)
    return fail(err, SAM3_ERR_FORMAT, "descriptor %d is not of a split", fd);
  return SAM3_OK;
}

sam3_status split_attach(int fd, struct split **out, struct sam3_error *err) {
  struct split *split = mem_zeroed(1, sizeof *split);
  *out = NULL;
  if (!split)
    return fail_memory(err, sizeof *split, "a split");
  split->fd = -1;
  sam3_status status = attach(split, fd, err);
  if (status == SAM3_OK)
    *out = split;
  else
    split_free(split);
  return status;
}

int split_descriptor(const struct split *split) {
  return split->fd;
}

uint64_t split_bytes(const struct split *split) {
  return split->total;
}

sam3_status split_features(struct split *split, int rank, int slot, sam3_session *session, sam3_features **features,
                           struct sam3_error *err) {
  const struct header *h = header(split);
  int ranks = shared_group_ranks(group_state(split));
  struct image_features tensors;
  *features = NULL;
  if (rank < 0 || rank >= ranks || slot < 0 || (uint32_t)slot >= h->images)
    return fail(err, SAM3_ERR_ARGUMENT, "rank %d of %d, image %d of %u: no such place in the split", rank, ranks, slot,
                (unsigned)h->images);
  size_t size = features_layout(&session->model->network.config, &tensors, NULL), own = 0, shared = 0;
  struct group group = group_dry(rank, ranks);
  TRY(session_measure(session, &group, &own, &shared, err));
  if (size > h->size.features || shared > h->size.activations || own > session->arena.size)
    return fail(err, SAM3_ERR_ARGUMENT, "the split was made for another model");
  sam3_features *f = mem_zeroed(1, sizeof *f);
  if (!f)
    return fail_memory(err, sizeof *f, "the features of an image");
  *f = (sam3_features){.session = session, .split = split, .rank = rank, .size = size};
  f->block = split->base + features_at(h, slot);
  features_layout(&session->model->network.config, &f->tensors, f->block);
  *features = f;
  return SAM3_OK;
}

void split_break(struct split *split, sam3_status status, const char *why) {
  shared_group_break(group_state(split), status, why);
}

void split_form(struct split *split) {
  shared_group_form(group_state(split));
}

void split_free(struct split *split) {
  if (!split)
    return;
  mem_free_pages(split->base, split->total);
  if (split->fd >= 0)
    close(split->fd);
  free(split);
}

/* ---- a call of all ranks ---- */

void session_enter(sam3_session *session, const sam3_features *features) {
  struct split *split = features->split;
  if (!split)
    return;
  shared_group_join(group_state(split), features->rank, &session->member);
  session->group = &session->member.group;
  session->shared = (struct arena){.base = split->base + arena_at(), .size = header(split)->size.activations};
}

/* What follows from the arguments comes to all ranks alike, and so does being cancelled: they leave together, so that
 * no rank begins another call while one still reads what this one has left. Anything else is this rank's own
 * misfortune. */
static bool is_common(sam3_status status) {
  return status == SAM3_OK || status == SAM3_ERR_CANCELLED || status == SAM3_ERR_ARGUMENT || status == SAM3_ERR_LIMIT ||
         status == SAM3_ERR_FORMAT || status == SAM3_ERR_UNSUPPORTED;
}

sam3_status session_leave(sam3_session *session, sam3_status status, struct sam3_error *err) {
  struct group *group = session->group;
  session->group = NULL;
  if (!group)
    return status;
  if (!is_common(status)) {
    group->ops->abandon(group, status, err ? err->message : sam3_status_name(status));
    return status;
  }
  struct sam3_error reason;
  group->leaving = true;
  sam3_status others = group->ops->barrier(group, &reason);
  if (others != SAM3_OK && err)
    *err = reason;
  return others != SAM3_OK ? others : status;
}
