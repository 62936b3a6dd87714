/* The mask head: pixels at 4 × the grid, and their dot products with each query. */
#include "model/model.h"

void pixel_embeddings(struct run *r, struct tensor y, const struct image_features *image, struct tensor memory,
                      struct tensor prompt) {
  const struct mask_weights *w = &r->net->mask;
  int grid = r->net->config.vision.grid;
  if (!progress(r, "masks", 0))
    return;
  cross_prenorm(r, memory, prompt, prompt, &w->prompt_norm, &w->prompt, r->net->config.mask_heads);
  size_t mark = arena_mark(r->arena);
  struct tensor middle = take(r, image->levels[1].rows, image->levels[1].cols);
  const struct tensor from[PIXEL_STAGES] = {memory, middle}, to[PIXEL_STAGES] = {middle, y};
  for (int i = 0; i < PIXEL_STAGES; i++) {
    int side = grid << (i + 1);
    r->ops->conv3x3(r->dev, to[i], image->levels[1 - i], &from[i], side, side, &r->plan->pixel[i]);
    r->ops->group_norm_relu(r->dev, to[i], to[i], CONFIG_NORM_GROUPS, &w->norm[i]);
  }
  arena_release(r->arena, mark);
}

void mask_logits(struct run *r, struct tensor y, struct tensor offset, struct tensor queries, struct tensor pixels) {
  const struct mask_weights *w = &r->net->mask;
  size_t mark = arena_mark(r->arena);
  struct tensor embedding = take(r, queries.rows, queries.cols), projected = take(r, queries.rows, queries.cols);
  run_head(r, embedding, queries, &w->embed, NULL);
  r->ops->linear(r->dev, projected, embedding, &r->plan->mask_projection, ACT_NONE, NULL);
  r->ops->linear(r->dev, offset, embedding, &r->plan->mask_projection_bias, ACT_NONE, NULL);
  r->ops->linear(r->dev, y, projected, &(struct linear){.w = pixels}, ACT_NONE, NULL);
  arena_release(r->arena, mark);
}
