#include "image/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "image/rle.h"

void sam3_results_free(struct sam3_results *results) {
  if (!results)
    return;
  for (size_t i = 0; i < results->n_items; i++) {
    struct sam3_result *item = &results->items[i];
    for (size_t k = 0; k < item->n_detections; k++)
      rle_free(&item->detections[k].mask);
    free(item->detections);
    free(item->boxes);
    free(item->text);
  }
  free(results->items);
  free(results);
}

const char *result_label(const struct sam3_result *result) {
  return result->text && *result->text ? result->text : "visual";
}

static bool finite4(const float *v) {
  return isfinite(v[0]) && isfinite(v[1]) && isfinite(v[2]) && isfinite(v[3]);
}

sam3_status results_check(const struct sam3_results *results, struct sam3_error *err) {
  for (size_t i = 0; i < results->n_items; i++) {
    const struct sam3_result *item = &results->items[i];
    if (!isfinite(item->presence))
      return fail(err, SAM3_ERR_ARGUMENT, "prompt %zu: its presence is not a finite number", i);
    for (size_t k = 0; k < item->n_boxes; k++) {
      const struct sam3_box *box = &item->boxes[k];
      if (!finite4((const float[]){box->x0, box->y0, box->x1, box->y1}))
        return fail(err, SAM3_ERR_ARGUMENT, "prompt %zu: box %zu is not of finite numbers", i, k);
    }
    for (size_t k = 0; k < item->n_detections; k++) {
      const struct sam3_detection *detection = &item->detections[k];
      if (!isfinite(detection->score) || !finite4(detection->box))
        return fail(err, SAM3_ERR_ARGUMENT, "prompt %zu, detection %zu: its score or box is not a finite number", i, k);
      char what[64];
      snprintf(what, sizeof what, "prompt %zu, detection %zu", i, k);
      TRY(rle_check(&detection->mask, results->width, results->height, what, err));
    }
  }
  return SAM3_OK;
}
