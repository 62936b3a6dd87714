/* The ranks that compute one request together, each with a device of its own, and what they tell each other.
 *
 * All ranks run the same code on the same arguments. Of a tensor that is spread over them each computes a contiguous
 * range of rows, its part; where others' rows are read, the ranks gather them. docs/parallel.md has the whole picture.
 *
 * A collective operator is called by every rank of the group, in the same order. It returns an error on every rank, and
 * so does every one after it, once the group is broken: by a rank that failed, by whoever watches the ranks, or because
 * a rank did not come in time. A rank then leaves the call; nobody waits for ever. */
#ifndef SAM3_BACKEND_GROUP_H
#define SAM3_BACKEND_GROUP_H

#include "backend/device.h"

#define GROUP_MAX 64 /* ranks */

/* Rows first .. first + n - 1 of `rows`: a rank's part of a tensor. */
struct part {
  int64_t first, n, rows;
  int64_t unit; /* rows that stay together; divides `rows` */
  int64_t skip; /* rows in front of the tensor's that take part in the division, see part_behind */
};

struct group {
  const struct collective_ops *ops;
  int rank, size;
  /* Rank 0 wishes to stop the run. Every collective operator tells the others: `stopped` is then true on all, from the
   * same operator on. */
  bool wish, stopped;
  bool leaving; /* the next operator ends the call: a group of which only some ranks are leaving is broken */
};

struct collective_ops {
  const char *name;
  /* All ranks see the same memory behind a shared tensor. It must then not be written again before all have read it. */
  bool one_memory;
  /* Returns when every rank has come. */
  sam3_status (*barrier)(struct group *group, struct sam3_error *err);
  /* Each rank has written its part of the n tensors; afterwards every rank sees all of them. */
  sam3_status (*all_gather)(struct group *group, struct device *dev, const struct tensor *tensors, int n,
                            struct part part, struct sam3_error *err);
  /* Rank 0 has written the tensor; afterwards every rank sees it. */
  sam3_status (*broadcast)(struct group *group, struct device *dev, struct tensor tensor, struct sam3_error *err);
  /* This rank has failed: breaks the group. The first reason is what everyone is told. */
  void (*abandon)(struct group *group, sam3_status status, const char *message);
};

/* The part of a rank. Parts differ by one unit at most; rank 0 has row 0. */
struct part part_of_rank(int rank, int size, int64_t rows, int64_t unit);

/* The same division, for a tensor that lacks its first `skip` rows. */
static inline struct part part_behind(struct part p, int64_t skip) {
  int64_t begin = p.first > skip ? p.first - skip : 0, end = p.first + p.n > skip ? p.first + p.n - skip : 0;
  return (struct part){begin, end - begin, p.rows - skip, p.unit, p.skip + skip};
}

/* A group for a rehearsal on a dry device: nobody else is there. */
struct group group_dry(int rank, int size);

/* ---- ranks that share memory: threads, or processes that map the same file ---- */

/* The state of the group, in that memory; it holds no pointers. */
struct shared_group;

size_t shared_group_size(void);

/* Before any rank uses it. A rank waits `timeout` seconds for the others. */
void shared_group_init(struct shared_group *state, int size, double timeout);

/* A rank's handle, valid as long as `state` is mapped. */
struct group_member {
  struct group group;
  struct shared_group *state;
};
void shared_group_join(struct shared_group *state, int rank, struct group_member *member);

int shared_group_ranks(const struct shared_group *state);

/* Breaks the group from outside: by whoever knows that a rank is gone. Any thread of any process. */
void shared_group_break(struct shared_group *state, sam3_status status, const char *message);

/* Forms a broken group anew. No rank may be in a call. */
void shared_group_form(struct shared_group *state);

#endif
