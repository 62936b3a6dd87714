/* An image onto a device: resize, encode, keep. */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/session.h"
#include "image/resize.h"

sam3_status sam3_features_create(sam3_session *session, sam3_features **features, struct sam3_error *err) {
  sam3_features *f = *features = mem_zeroed(1, sizeof *f);
  if (!f)
    return fail_memory(err, sizeof *f, "the features of an image");
  const struct config *config = &session->model->network.config;
  f->session = session;
  f->size = features_layout(config, &f->tensors, NULL);
  f->block = session->dev->ops->alloc(session->dev, f->size);
  if (!f->block) {
    *features = NULL;
    fail(err, SAM3_ERR_MEMORY, "device %s has no memory for the features of an image, %zu MB", session->dev->name,
         f->size >> 20);
    free(f);
    return SAM3_ERR_MEMORY;
  }
  features_layout(config, &f->tensors, f->block);
  return SAM3_OK;
}

static sam3_status encode(sam3_session *session, const sam3_image *image, const uint8_t *square,
                          sam3_features *features, struct sam3_error *err) {
  if (!square) {
    TRY(resize_square(image, session->model->network.config.vision.image, session->pixels, err));
    square = session->pixels;
  }
  struct watcher watcher;
  struct run r = session_run(session, session_watch(session, &watcher, encode_fraction, 0, 1));
  model_encode(&r, &features->tensors, square);
  TRY(session->dev->ops->sync(session->dev, err));
  TRY(run_error(&r, err));
  return r.cancelled ? fail(err, SAM3_ERR_CANCELLED, "cancelled while the image was encoded") : SAM3_OK;
}

sam3_status session_encode(sam3_session *session, const sam3_image *image, const uint8_t *square,
                           sam3_features *features, struct sam3_error *err) {
  features->width = features->height = 0;
  session_enter(session, features);
  TRY(session_leave(session, encode(session, image, square, features, err), err));
  features->width = sam3_image_width(image);
  features->height = sam3_image_height(image);
  return SAM3_OK;
}

sam3_status sam3_encode(sam3_session *session, const sam3_image *image, sam3_features *features,
                        struct sam3_error *err) {
  if (features->session != session)
    return fail(err, SAM3_ERR_ARGUMENT, "the features belong to another session");
  return session_encode(session, image, NULL, features, err);
}

void sam3_features_free(sam3_features *features) {
  if (!features)
    return;
  if (!features->split)
    features->session->dev->ops->free(features->session->dev, features->block, features->size);
  free(features);
}
