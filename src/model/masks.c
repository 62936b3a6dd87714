/* The mask head: pixels at 4 × the grid, and their dot products with each query. */
#include "model/model.h"

void pixel_embeddings(struct run *r, struct tensor y, const struct image_features *image, struct tensor memory,
                      struct tensor prompt) {
  const struct mask_weights *w = &r->net->mask;
  int grid = r->net->config.vision.grid;
  if (!progress(r, "masks", 0))
    return;
  const struct part cells = part_of(r, memory.rows);
  cross_prenorm(r, mine(memory, cells), prompt, prompt, &w->prompt_norm, &w->prompt, r->net->config.mask_heads, NULL);
  gather(r, memory, cells);
  struct run_mark mark = mark_run(r);
  struct tensor middle = take_shared(r, image->levels[1].rows, image->levels[1].cols);
  const struct tensor from[PIXEL_STAGES] = {memory, middle}, to[PIXEL_STAGES] = {middle, y};
  for (int i = 0; i < PIXEL_STAGES; i++) {
    int side = grid << (i + 1);
    const struct part pixels = part_of_map(r, to[i].rows);
    struct tensor own = mine(to[i], pixels);
    r->ops->conv3x3(r->dev, own, image->levels[1 - i], &from[i], side, side, (int)(pixels.first / side),
                    &r->plan->pixel[i]);
    group_norm_relu(r, own, &w->norm[i]);
    if (i + 1 < PIXEL_STAGES)
      gather(r, to[i], pixels);
  }
  release_run(r, mark);
}

void mask_logits(struct run *r, struct tensor y, struct tensor offset, struct tensor queries, struct tensor pixels) {
  const struct mask_weights *w = &r->net->mask;
  const struct part own = part_of_map(r, pixels.rows);
  size_t mark = arena_mark(r->arena);
  struct tensor embedding = take(r, queries.rows, queries.cols), projected = take(r, queries.rows, queries.cols);
  run_head(r, embedding, queries, &w->embed, NULL);
  r->ops->linear(r->dev, projected, embedding, &r->plan->mask_projection, ACT_NONE, NULL);
  r->ops->linear(r->dev, offset, embedding, &r->plan->mask_projection_bias, ACT_NONE, NULL);
  r->ops->linear(r->dev, cols_of(y, own.first, own.n), projected, &(struct linear){.w = mine(pixels, own)}, ACT_NONE,
                 NULL);
  wait_for_all(r);
  arena_release(r->arena, mark);
}
