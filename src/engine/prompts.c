/* Prompts as a caller gives them: checked, copied. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/task.h"
#include "model/model.h"

/* Prompts in one call. */
#define MAX_PROMPTS 10000

static sam3_status check_box(size_t prompt, size_t index, const struct sam3_box *box, int width, int height,
                             struct sam3_error *err) {
  const float w = (float)width, h = (float)height;
  if (!(isfinite(box->x0) && isfinite(box->y0) && isfinite(box->x1) && isfinite(box->y1)))
    return fail(err, SAM3_ERR_ARGUMENT, "prompt %zu, box %zu: coordinates must be finite", prompt, index);
  if (!(box->x0 < box->x1 && box->y0 < box->y1))
    return fail(err, SAM3_ERR_ARGUMENT, "prompt %zu, box %zu: [%g, %g, %g, %g] is not x0 < x1, y0 < y1", prompt, index,
                box->x0, box->y0, box->x1, box->y1);
  if (box->x0 < -w || box->y0 < -h || box->x1 > 2 * w || box->y1 > 2 * h)
    return fail(err, SAM3_ERR_LIMIT,
                "prompt %zu, box %zu: [%g, %g, %g, %g] leaves the image (%d x %d) by more than its own size", prompt,
                index, box->x0, box->y0, box->x1, box->y1, width, height);
  return SAM3_OK;
}

sam3_status prompts_check(const struct sam3_prompt *prompts, size_t n, float threshold, int width, int height,
                          struct sam3_error *err) {
  if (!(threshold >= 0 && threshold <= 1))
    return fail(err, SAM3_ERR_ARGUMENT, "threshold %g is not in 0..1", threshold);
  if (n > MAX_PROMPTS)
    return fail(err, SAM3_ERR_LIMIT, "%zu prompts: at most %d at a time", n, MAX_PROMPTS);
  for (size_t i = 0; i < n; i++) {
    if (!prompts[i].text && !prompts[i].n_boxes)
      return fail(err, SAM3_ERR_ARGUMENT, "prompt %zu has neither text nor boxes", i);
    if (prompts[i].n_boxes > MAX_BOXES)
      return fail(err, SAM3_ERR_LIMIT, "prompt %zu has %zu boxes: at most %d", i, prompts[i].n_boxes, MAX_BOXES);
    for (size_t b = 0; b < prompts[i].n_boxes; b++)
      TRY(check_box(i, b, &prompts[i].boxes[b], width, height, err));
  }
  return SAM3_OK;
}

struct sam3_prompt *prompts_copy(const struct sam3_prompt *prompts, size_t n) {
  struct sam3_prompt *copy = mem_zeroed(n, sizeof *copy);
  for (size_t i = 0; copy && i < n; i++) {
    size_t size = prompts[i].n_boxes * sizeof *prompts[i].boxes;
    struct sam3_box *boxes = size ? mem_alloc(size) : NULL;
    char *text = prompts[i].text ? mem_strdup(prompts[i].text) : NULL;
    copy[i] = (struct sam3_prompt){text, boxes, prompts[i].n_boxes};
    if ((size && !boxes) || (prompts[i].text && !text)) {
      prompts_free(copy, i + 1);
      return NULL;
    }
    if (size)
      memcpy(boxes, prompts[i].boxes, size);
  }
  return copy;
}

void prompts_free(struct sam3_prompt *prompts, size_t n) {
  for (size_t i = 0; prompts && i < n; i++) {
    free((void *)prompts[i].text);
    free((void *)prompts[i].boxes);
  }
  free(prompts);
}
