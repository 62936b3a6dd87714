/* One request over several devices. Each rank, a thread or a process, has a session of its own, as for requests that it
 * answers alone. What ranks read of each other lies in the memory of a split, which all of them map.
 *
 * A call of sam3_encode or sam3_segment on features that were made here is a call of all ranks: each makes it on its
 * own session, with the same image and prompts, at about the same time. All return the same status. Of results, rank 0
 * has everything and the others all but the masks. The progress function of rank 0 alone can cancel, and then it does
 * for all; those of the others are called and their answers passed over. docs/parallel.md says how it works.
 *
 * When a rank fails, does not come in time or is reported dead, the group of ranks is broken: every call on the split,
 * running or later, returns that error, until the group is formed anew. */
#ifndef SAM3_ENGINE_SPLIT_H
#define SAM3_ENGINE_SPLIT_H

#include "engine/session.h"

struct split;

/* What a split of a model needs, which depends on the model and the number of ranks alone. */
struct split_size {
  uint64_t activations;
  uint64_t features; /* of one image */
};

/* What a split of the session's model over so many ranks needs; checks that the session can be one of them. */
sam3_status split_measure(sam3_session *session, int ranks, struct split_size *size, struct sam3_error *err);

/* Where ranks are. Memory that processes share has small pages unless the system is told otherwise (docs/parallel.md).
 */
enum split_among { SPLIT_AMONG_THREADS, SPLIT_AMONG_PROCESSES };

/* Takes the memory, with room for the features of `images` images. A rank that waits for others longer than `timeout`
 * seconds breaks the group. */
sam3_status split_create(const struct split_size *size, enum split_among among, int ranks, int images, double timeout,
                         struct split **split, struct sam3_error *err);

/* The same split in another process, which has got its descriptor (inherited, or through a socket) and may close it
 * afterwards. */
sam3_status split_attach(int fd, struct split **split, struct sam3_error *err);

/* Of a split among processes; valid until split_free(). Close-on-exec. */
int split_descriptor(const struct split *split);

/* Bytes of the memory, counted once for all ranks; pages that were never written take none. */
uint64_t split_bytes(const struct split *split);

/* A rank's handle on the features in place `slot` (0 .. images - 1), whose owner sees to it that all ranks use the same
 * slot for the same image, and one image at a time. Free with sam3_features_free(), before the split and the session;
 * the place can then be used again. */
sam3_status split_features(struct split *split, int rank, int slot, sam3_session *session, sam3_features **features,
                           struct sam3_error *err);

/* Breaks the group, for whoever has learned that a rank is gone: ranks that wait for it return at once, with `status`.
 * From any thread or process, one at a time; again it does nothing. */
void split_break(struct split *split, sam3_status status, const char *why);

/* Forms a broken group anew, with all its ranks. No rank may be in a call. */
void split_form(struct split *split);

/* Unmaps it; the memory goes with the last process that has it. */
void split_free(struct split *split);

#endif
