/* The fusion encoder: the image's features attend to themselves and to the prompt. */
#include "model/model.h"

void begin_prompts(struct run *r, struct image_features *out) {
  const struct cross_layer *first = &r->net->fusion[0];
  struct tensor level = out->levels[2];
  if (!progress(r, "begin", 0))
    return;
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, level.rows, level.cols), placed = take(r, level.rows, level.cols);
  r->ops->layer_norm(r->dev, h, level, &first->norm1);
  r->ops->add(r->dev, placed, h, r->plan->sine);
  attend(r, out->fused, &level, placed, placed, h, &first->self,
         (struct attention){.heads = r->net->config.fusion.heads});
  arena_release(r->arena, mark);
  encode_geometry(r, out->cls, out, NULL, 0);
}

void fuse(struct run *r, struct tensor y, const struct image_features *image, struct tensor prompt) {
  const struct config_stack *stack = &r->net->config.fusion;
  for (int i = 0; i < stack->layers && progress(r, "fusion", (double)i / stack->layers); i++) {
    const struct cross_layer *layer = &r->net->fusion[i];
    if (i == 0)
      r->ops->copy(r->dev, y, image->fused);
    else
      self_prenorm(r, y, &r->plan->sine, &layer->norm1, &layer->self, stack->heads);
    cross_prenorm(r, y, prompt, prompt, &layer->norm2, &layer->cross, stack->heads);
    mlp_prenorm(r, y, &layer->norm3, &layer->mlp, ACT_RELU);
    probe(r, "fusion.%d", i, y, NULL);
  }
}
