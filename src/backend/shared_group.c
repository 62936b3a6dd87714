/* Collectives over shared memory. What a rank has written is there for the others to read, so that every operator is
 * one barrier: it orders the writes before it in front of the reads behind it.
 *
 * The barrier is a word that all ranks watch. Who comes last moves it on; who comes earlier spins a little, for the
 * last pieces of equal work end close together, and then sleeps on it (a futex, which works between processes).
 * Breaking the group sets a bit in the same word, so that a waiting rank has one thing to look at. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "backend/group.h"
#include "base/error.h"

#if defined(__x86_64__) || defined(__i386__)
#define pause_cpu() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define pause_cpu() __asm__ volatile("yield")
#else
#define pause_cpu() ((void)0)
#endif

enum {
  SPINS = 2000,     /* pauses, about 50 µs */
  BROKEN = 1,       /* bits of the word: the group is broken, */
  STOP = 2,         /* rank 0 wished to stop before it came to the last barrier, */
  GENERATION = 4,   /* and the number of barriers so far */
  LEAVING = 1 << 16 /* in `arrived`: counts ranks whose call ends */
};

/* Why a rank broke the group. */
struct reason {
  int32_t status;
  char message[200];
};

struct shared_group {
  int32_t size;
  double timeout;
  _Alignas(64) _Atomic uint32_t word;
  _Alignas(64) _Atomic uint32_t arrived;
  _Atomic bool wish;                    /* of rank 0 */
  _Atomic uint32_t last[GROUP_MAX];     /* the word at which each rank came to its last barrier */
  _Atomic int32_t breaker;              /* 1 + its index in `reasons`; 0: nobody */
  struct reason reasons[GROUP_MAX + 1]; /* of each rank, and of whoever watches them */
};

size_t shared_group_size(void) {
  return sizeof(struct shared_group);
}

void shared_group_init(struct shared_group *state, int size, double timeout) {
  memset(state, 0, sizeof *state);
  state->size = size;
  state->timeout = timeout;
}

int shared_group_ranks(const struct shared_group *state) {
  return state->size;
}

/* Sleeps while the word is `seen`, at most a while: the caller looks at the clock. */
static void sleep_on(_Atomic uint32_t *word, uint32_t seen) {
#ifdef __linux__
  const struct timespec most = {.tv_nsec = 100 * 1000 * 1000};
  syscall(SYS_futex, word, FUTEX_WAIT, seen, &most, NULL, 0);
#else
  (void)word, (void)seen;
  nanosleep(&(const struct timespec){.tv_nsec = 50 * 1000}, NULL);
#endif
}

static void wake_all(_Atomic uint32_t *word) {
#ifdef __linux__
  syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
#else
  (void)word;
#endif
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The reason stands before `breaker` says whose it is, and that before the word is seen to be broken. */
static void break_by(struct shared_group *state, int index, sam3_status status, const char *message) {
  int32_t nobody = 0;
  if (!(atomic_load(&state->word) & BROKEN)) {
    state->reasons[index].status = (int32_t)status;
    snprintf(state->reasons[index].message, sizeof state->reasons[index].message, "%s", message);
    atomic_compare_exchange_strong(&state->breaker, &nobody, index + 1);
  }
  atomic_fetch_or(&state->word, BROKEN);
  wake_all(&state->word);
}

static sam3_status broken(const struct group *group, const struct shared_group *state, struct sam3_error *err) {
  int by = atomic_load(&state->breaker) - 1;
  const struct reason *reason = by < 0 ? NULL : &state->reasons[by];
  if (!reason)
    return fail(err, SAM3_ERR_DEVICE, "the split over %d devices is broken", group->size);
  if (by == GROUP_MAX)
    return fail(err, (sam3_status)reason->status, "the split over %d devices is broken: %s", group->size,
                reason->message);
  return fail(err, (sam3_status)reason->status, "the split over %d devices is broken by rank %d: %s", group->size, by,
              reason->message);
}

/* Breaks the group because those that have not come since `seen` are late. */
static void give_up(struct group_member *member, uint32_t seen) {
  struct shared_group *state = member->state;
  char message[200];
  int late = 0;
  while (late < state->size - 1 && (late == member->group.rank || atomic_load(&state->last[late]) == seen + GENERATION))
    late++;
  snprintf(message, sizeof message, "rank %d did not come within %g s", late, state->timeout);
  break_by(state, member->group.rank, SAM3_ERR_DEVICE, message);
}

/* True when the barrier that was entered at `seen` is passed. It counts as passed even if the group broke since. */
static bool passed(uint32_t word, uint32_t seen) {
  return (word ^ seen) >= GENERATION;
}

static void wait_to_pass(struct group_member *member, uint32_t seen) {
  struct shared_group *state = member->state;
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load_explicit(&state->word, memory_order_acquire) != seen)
      return;
    pause_cpu();
  }
  double limit = now() + state->timeout;
  while (atomic_load_explicit(&state->word, memory_order_acquire) == seen) {
    sleep_on(&state->word, seen);
    if (now() > limit && atomic_load(&state->word) == seen)
      give_up(member, seen);
  }
}

static sam3_status shared_barrier(struct group *group, struct sam3_error *err) {
  struct group_member *member = (struct group_member *)group;
  struct shared_group *state = member->state;
  uint32_t seen = atomic_load_explicit(&state->word, memory_order_acquire);
  if (seen & BROKEN)
    return broken(group, state, err);
  if (group->rank == 0)
    atomic_store_explicit(&state->wish, group->wish, memory_order_relaxed);
  /* Generations begin at 1 here, so that 0 is a rank that never came. */
  atomic_store_explicit(&state->last[group->rank], seen + GENERATION, memory_order_relaxed);
  uint32_t after = seen;
  uint32_t self = group->leaving ? 1 + LEAVING : 1, size = (uint32_t)state->size;
  uint32_t arrived = atomic_fetch_add_explicit(&state->arrived, self, memory_order_acq_rel) + self;
  if (arrived % LEAVING == size) {
    if (arrived != size && arrived != size + size * LEAVING) {
      break_by(state, group->rank, SAM3_ERR_ARGUMENT, "the ranks were not asked for the same");
      return broken(group, state, err);
    }
    after =
        ((seen & ~(uint32_t)STOP) + GENERATION) | (atomic_load_explicit(&state->wish, memory_order_relaxed) ? STOP : 0);
    atomic_store_explicit(&state->arrived, 0, memory_order_relaxed);
    if (!atomic_compare_exchange_strong(&state->word, &seen, after)) /* broken meanwhile */
      return broken(group, state, err);
    wake_all(&state->word);
  } else {
    wait_to_pass(member, seen);
    after = atomic_load_explicit(&state->word, memory_order_acquire);
    if (!passed(after, seen))
      return broken(group, state, err);
  }
  group->stopped = group->stopped || (after & STOP);
  return SAM3_OK;
}

static sam3_status shared_all_gather(struct group *group, struct device *dev, const struct tensor *tensors, int n,
                                     struct part part, struct sam3_error *err) {
  (void)tensors, (void)n, (void)part;
  TRY(dev->ops->sync(dev, err));
  return shared_barrier(group, err);
}

static sam3_status shared_broadcast(struct group *group, struct device *dev, struct tensor tensor,
                                    struct sam3_error *err) {
  (void)tensor;
  TRY(dev->ops->sync(dev, err));
  return shared_barrier(group, err);
}

static void shared_abandon(struct group *group, sam3_status status, const char *message) {
  break_by(((struct group_member *)group)->state, group->rank, status, message);
}

void shared_group_join(struct shared_group *state, int rank, struct group_member *member) {
  static const struct collective_ops ops = {"shared memory",  true,          shared_barrier, shared_all_gather,
                                            shared_broadcast, shared_abandon};
  *member = (struct group_member){{.ops = &ops, .rank = rank, .size = state->size}, state};
}

void shared_group_break(struct shared_group *state, sam3_status status, const char *message) {
  break_by(state, GROUP_MAX, status, message);
}

void shared_group_form(struct shared_group *state) {
  uint32_t word = atomic_load(&state->word);
  atomic_store(&state->arrived, 0);
  atomic_store(&state->wish, false);
  atomic_store(&state->breaker, 0);
  atomic_store(&state->word, (word & ~(uint32_t)(BROKEN | STOP)) + GENERATION);
}
