/* The geometry encoder: box prompts, and the CLS token that every prompt has. */
#include <string.h>

#include "model/model.h"

/* y [n, D + 2]: the sine encoding of each box's centre, y features then x, and its height and width. */
static void box_positions(struct run *r, struct tensor y, struct tensor boxes) {
  int64_t dim = y.cols - 2;
  size_t mark = arena_mark(r->arena);
  struct tensor sine = take(r, y.rows, 2 * dim); /* of cy, cx, w, h */
  r->ops->sine_boxes(r->dev, sine, boxes.data);
  r->ops->copy(r->dev, cols_of(y, 0, dim), cols_of(sine, 0, dim));
  r->ops->copy(r->dev, cols_of(y, dim, 1), cols_of(boxes, 3, 1));
  r->ops->copy(r->dev, cols_of(y, dim + 1, 1), cols_of(boxes, 2, 1));
  arena_release(r->arena, mark);
}

/* y [n, D] = direct projection + pooled image + position + label of each box. */
static void embed_boxes(struct run *r, struct tensor y, struct tensor image, const struct geometry_box *boxes, int n) {
  const struct geometry_weights *w = &r->net->geometry;
  int dim = r->net->config.dim, grid = r->net->config.vision.grid, roi = r->net->config.roi;
  size_t mark = arena_mark(r->arena);
  struct tensor direct = take(r, n, 4), cells = take(r, n, 4), position = take(r, n, dim + 2), label = take(r, n, dim);
  struct tensor normed = take(r, image.rows, dim), pooled = take(r, n, (int64_t)dim * roi * roi);
  int32_t *labels = arena_take(r->arena, (size_t)n * sizeof *labels), host_labels[MAX_BOXES];
  float centres[MAX_BOXES][4], corners[MAX_BOXES][4];
  for (int i = 0; i < n; i++) {
    const struct geometry_box *box = &boxes[i];
    const float half_w = 0.5f * box->w, half_h = 0.5f * box->h, g = (float)grid;
    memcpy(centres[i], (float[4]){box->cx, box->cy, box->w, box->h}, sizeof centres[i]);
    memcpy(corners[i],
           (float[4]){(box->cx - half_w) * g, (box->cy - half_h) * g, (box->cx + half_w) * g, (box->cy + half_h) * g},
           sizeof corners[i]);
    host_labels[i] = box->positive;
  }
  r->ops->upload(r->dev, direct.data, centres, (size_t)n * sizeof *centres);
  r->ops->upload(r->dev, cells.data, corners, (size_t)n * sizeof *corners);
  r->ops->upload(r->dev, labels, host_labels, (size_t)n * sizeof *labels);
  box_positions(r, position, direct);
  r->ops->linear(r->dev, y, direct, &w->direct, ACT_NONE, NULL);
  r->ops->layer_norm(r->dev, normed, image, &w->vision_norm);
  r->ops->roi_align(r->dev, pooled, normed, grid, grid, cells.data, roi);
  r->ops->linear(r->dev, y, pooled, &w->pool, ACT_NONE, &y);
  r->ops->linear(r->dev, y, position, &w->position, ACT_NONE, &y);
  r->ops->gather_rows(r->dev, label, w->label, labels, NULL);
  r->ops->add(r->dev, y, y, label);
  arena_release(r->arena, mark);
}

/* In a split every rank computes the few tokens, and its part of the keys and values. */
void encode_geometry(struct run *r, struct tensor y, const struct image_features *image,
                     const struct geometry_box *boxes, int n) {
  const struct geometry_weights *w = &r->net->geometry;
  const struct config_stack *stack = &r->net->config.geometry;
  const struct part cells = part_of(r, image->levels[2].rows);
  struct tensor values = mine(image->levels[2], cells);
  size_t mark = arena_mark(r->arena);
  struct tensor x = take(r, n + 1, y.cols), keys = take(r, values.rows, values.cols);
  if (n)
    embed_boxes(r, rows_of(x, 0, n), image->levels[2], boxes, n);
  r->ops->gather_rows(r->dev, rows_of(x, n, 1), w->cls, r->plan->counting, NULL);
  r->ops->linear(r->dev, y, x, &w->final, ACT_NONE, NULL);
  r->ops->layer_norm(r->dev, x, y, &w->prompt_norm);
  r->ops->add(r->dev, keys, values, mine(r->plan->sine, cells));
  for (int i = 0; i < stack->layers && progress(r, "geometry", (double)i / stack->layers); i++) {
    const struct cross_layer *layer = &w->layers[i];
    self_prenorm(r, x, NULL, &layer->norm1, &layer->self, stack->heads, NULL);
    cross_prenorm(r, x, keys, values, &layer->norm2, &layer->cross, stack->heads, &cells);
    mlp_prenorm(r, x, &layer->norm3, &layer->mlp, ACT_RELU);
  }
  r->ops->layer_norm(r->dev, y, x, &w->output_norm);
  probe(r, "geometry", 0, y, NULL);
  arena_release(r->arena, mark);
}
