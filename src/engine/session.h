/* A model on a device. Everything that a request needs is taken when the session opens. */
#ifndef SAM3_ENGINE_SESSION_H
#define SAM3_ENGINE_SESSION_H

#include "backend/group.h"
#include "engine/model.h"
#include "model/model.h"

/* Encoded texts, the least recently used of which makes room for a new one. */
#define TEXT_SLOTS 64
/* Texts that go through the text encoder together: its weights are then read once for all of them. */
#define TEXT_BATCH 8
/* Masks that are downloaded together. */
#define MASK_BATCH 16

struct text_slot {
  int32_t ids[CONFIG_MAX_CONTEXT];
  int count; /* 0: empty */
  uint64_t last_used;
};

struct sam3_session {
  sam3_model *model;
  struct device *dev;
  struct plan plan;
  struct arena arena; /* device memory */
  struct text_slot texts[TEXT_SLOTS];
  struct tensor text_features; /* device [TEXT_SLOTS * context, D] */
  uint64_t clock;              /* of text_slot.last_used */
  uint8_t *pixels;             /* host, uint8 [size, size, 3]: the resized image */
  float *masks;                /* host, [MASK_BATCH, 16 g²] */
  float *answers;              /* host, [Q, 5]: logits [Q], then boxes [Q, 4] */
  bool (*progress)(void *user, const char *stage, double fraction);
  void *user;
  const struct observer *observer; /* tests and benchmarks: takes the place of `progress` */
  /* While a call is split over ranks (split.h): */
  struct group *group; /* &member.group; NULL: alone */
  struct group_member member;
  struct arena shared; /* memory of all ranks */
};

struct sam3_features {
  sam3_session *session;
  struct image_features tensors;
  void *block; /* device memory of the tensors */
  size_t size;
  struct split *split; /* in whose memory they are, NULL: of the session's own device */
  int rank;
  int width, height; /* of the original image; 0: nothing is encoded */
};

/* Lays out the features of an image at `block`; returns their size. */
size_t features_layout(const struct config *config, struct image_features *tensors, void *block);

/* A run on the session's device and arena. */
struct run session_run(sam3_session *session, const struct observer *observer);

/* The largest request, in the stages' order: encoding, TEXT_BATCH texts, a prompt of MAX_BOXES boxes and MASK_BATCH
 * masks. On a dry device it sizes the arena; an observer sees the stages. */
void session_rehearse(struct run *r, struct image_features *image, struct tensor texts);

/* The sizes that the largest request needs: of the session's own arena, and, split over the ranks of `group`, of theirs
 * in common. On the way every shape is checked. */
sam3_status session_measure(sam3_session *session, struct group *group, size_t *own, size_t *shared,
                            struct sam3_error *err);

/* As sam3_encode(), for features of this session. `square`, if not NULL, is the image as resize_square() makes it for
 * the model, and of `image` the size alone is read. */
sam3_status session_encode(sam3_session *session, const sam3_image *image, const uint8_t *square,
                           sam3_features *features, struct sam3_error *err);

/* A call on features of a split is one of all its ranks, from session_enter() to session_leave(). An error of one is an
 * error of all: session_leave() tells the others of `status`, or returns theirs. For other features both do nothing. */
void session_enter(sam3_session *session, const sam3_features *features);
sam3_status session_leave(sam3_session *session, sam3_status status, struct sam3_error *err);

/* Tensors for a batch of masks, from the run's arenas. */
struct mask_batch {
  struct tensor queries; /* [MASK_BATCH, D] */
  struct tensor offsets; /* [MASK_BATCH, 1] */
  struct tensor logits;  /* [MASK_BATCH, 16 g²], shared */
};
struct mask_batch mask_batch_take(struct run *r);

/* An observer that tells the session's own progress function, which sees one call as 0..1, about item `index` of
 * `count`; `share` says how much of an item is done. Valid as long as `watcher`. */
struct watcher {
  struct observer observer;
  sam3_session *session;
  double (*share)(const char *stage, double fraction);
  double index, count;
};
const struct observer *session_watch(sam3_session *session, struct watcher *watcher,
                                     double (*share)(const char *stage, double fraction), double index, double count);

/* How much of an encoding, or of a prompt, is done. */
double encode_fraction(const char *stage, double fraction);
double prompt_fraction(const char *stage, double fraction);

#endif
