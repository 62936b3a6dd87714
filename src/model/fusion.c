/* The fusion encoder: the image's features attend to themselves and to the prompt. */
#include "model/model.h"

void begin_prompts(struct run *r, struct image_features *out) {
  const struct cross_layer *first = &r->net->fusion[0];
  const struct part cells = part_of(r, out->levels[2].rows);
  struct tensor level = mine(out->levels[2], cells);
  if (!progress(r, "begin", 0))
    return;
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, level.rows, level.cols), placed = take(r, level.rows, level.cols);
  r->ops->layer_norm(r->dev, h, level, &first->norm1);
  r->ops->add(r->dev, placed, h, mine(r->plan->sine, cells));
  attend(r, mine(out->fused, cells), &level, placed, placed, h, &first->self,
         (struct attention){.heads = r->net->config.fusion.heads}, &cells);
  arena_release(r->arena, mark);
  mark = arena_mark(r->arena);
  struct tensor cls = take(r, 1, out->cls.cols);
  encode_geometry(r, cls, out, NULL, 0);
  if (is_first(r))
    r->ops->copy(r->dev, out->cls, cls);
  broadcast(r, out->cls);
  arena_release(r->arena, mark);
}

void fuse(struct run *r, struct tensor y, const struct image_features *image, struct tensor prompt) {
  const struct config_stack *stack = &r->net->config.fusion;
  const struct part cells = part_of(r, y.rows);
  struct tensor x = mine(y, cells), sine = mine(r->plan->sine, cells);
  for (int i = 0; i < stack->layers && progress(r, "fusion", (double)i / stack->layers); i++) {
    const struct cross_layer *layer = &r->net->fusion[i];
    if (i == 0)
      r->ops->copy(r->dev, x, mine(image->fused, cells));
    else
      self_prenorm(r, x, &sine, &layer->norm1, &layer->self, stack->heads, &cells);
    cross_prenorm(r, x, prompt, prompt, &layer->norm2, &layer->cross, stack->heads, NULL);
    mlp_prenorm(r, x, &layer->norm3, &layer->mlp, ACT_RELU);
    probe(r, "fusion.%d", i, y, NULL);
  }
}
