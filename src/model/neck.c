/* The neck: the ViT's grid as a pyramid of 4, 2 and 1 times its size, all D wide. */
#include "model/model.h"

/* Level 0 goes up twice; its middle, 2g × 2g × dim / 2, is made a few rows of the grid at a time. x is `rows` of them.
 */
static void upsample_twice(struct run *r, struct tensor y, struct tensor x, int rows, int grid) {
  const struct plan *plan = r->plan;
  const int step = (grid + 7) / 8;
  size_t mark = arena_mark(r->arena);
  struct tensor middle = take(r, (int64_t)4 * step * grid, plan->deconv[0].out);
  for (int row = 0; row < rows; row += step) {
    int n = row + step < rows ? step : rows - row;
    middle.rows = (int64_t)4 * n * grid;
    r->ops->deconv2x2(r->dev, middle, rows_of(x, (int64_t)row * grid, (int64_t)n * grid), n, grid, &plan->deconv[0],
                      ACT_GELU);
    r->ops->deconv2x2(r->dev, rows_of(y, (int64_t)16 * row * grid, (int64_t)16 * n * grid), middle, 2 * n, 2 * grid,
                      &plan->deconv[1], ACT_NONE);
  }
  arena_release(r->arena, mark);
}

void encode_neck(struct run *r, struct image_features *out, struct tensor vision) {
  const struct plan *plan = r->plan;
  int grid = r->net->config.vision.grid;
  const struct part cells = part_of_map(r, vision.rows);
  struct tensor x = mine(vision, cells);
  int rows = (int)(cells.n / grid);
  for (int level = 0; level < NECK_LEVELS && progress(r, "neck", level / 3.0); level++) {
    struct run_mark mark = mark_run(r);
    int side = grid << (2 - level);
    struct tensor wide = take_shared(r, (int64_t)side * side, r->net->config.dim), y = out->levels[level];
    const struct part pixels = part_of_map(r, wide.rows);
    if (level == 0)
      upsample_twice(r, mine(wide, pixels), x, rows, grid);
    else if (level == 1)
      r->ops->deconv2x2(r->dev, mine(wide, pixels), x, rows, grid, &plan->deconv[2], ACT_NONE);
    else
      r->ops->linear(r->dev, mine(wide, pixels), x, &r->net->neck.proj1[2], ACT_NONE, NULL);
    gather(r, wide, pixels);
    r->ops->conv3x3(r->dev, mine(y, pixels), wide, NULL, side, side, (int)(pixels.first / side), &plan->neck[level]);
    gather(r, y, pixels);
    probe(r, "neck.%d", level, y, NULL);
    release_run(r, mark);
  }
}
