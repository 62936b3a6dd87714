/* The vision encoder: a ViT with attention in windows and, in some layers, over the whole grid. */
#include "model/model.h"

/* x += attention(h) in the windows or over the grid; h = norm(x) is overwritten. */
static void vision_attention(struct run *r, struct tensor x, struct tensor h, const struct attention_weights *w,
                             bool global) {
  const struct plan *plan = r->plan;
  const struct token_order *order = &plan->order;
  const struct rope_table *rope = global ? &plan->grid_rope : &plan->window_rope;
  struct attention shape = {.batch = global ? 1 : order->windows,
                            .heads = r->net->config.vision.stack.heads,
                            .rope_cos = rope->cos,
                            .rope_sin = rope->sin};
  if (global || !order->padded) {
    attend(r, x, &x, h, h, h, w, shape);
    return;
  }
  /* Windows are filled up with zeros behind the norm, and that padding is attended to. */
  size_t mark = arena_mark(r->arena);
  struct tensor filled = take(r, (int64_t)order->windows * order->per_window, x.cols);
  struct tensor out = take(r, filled.rows, x.cols);
  r->ops->gather_rows(r->dev, filled, h, order->padded, NULL);
  attend(r, out, NULL, filled, filled, filled, w, shape);
  r->ops->gather_rows(r->dev, h, out, order->unpadded, NULL);
  r->ops->add(r->dev, x, x, h);
  arena_release(r->arena, mark);
}

void encode_vision(struct run *r, struct tensor y, const uint8_t *image) {
  const struct config_vision *c = &r->net->config.vision;
  const struct vision_weights *w = &r->net->vision;
  const struct token_order *order = &r->plan->order;
  size_t mark = arena_mark(r->arena);
  struct tensor x = take(r, order->tokens, c->dim), h = y; /* y serves as the layers' scratch until it is written */

  size_t patches_mark = arena_mark(r->arena);
  struct tensor patches = take(r, order->tokens, w->patch.w.cols);
  r->ops->patchify(r->dev, patches, image, c->image, c->patch, order->cell);
  r->ops->gather_rows(r->dev, x, w->position, r->plan->position_row, NULL);
  r->ops->linear(r->dev, x, patches, &w->patch, ACT_NONE, &x);
  arena_release(r->arena, patches_mark);
  probe(r, "patches", 0, x, order->cell_host);
  r->ops->layer_norm(r->dev, x, x, &w->pre);
  probe(r, "vit.ln_pre", 0, x, order->cell_host);

  for (int i = 0; i <= c->last_global && progress(r, "vision", (double)i / (c->last_global + 1)); i++) {
    const struct encoder_layer *layer = &w->layers[i];
    r->ops->layer_norm(r->dev, h, x, &layer->norm1);
    vision_attention(r, x, h, &layer->attention, c->is_global[i]);
    r->ops->layer_norm(r->dev, h, x, &layer->norm2);
    mlp(r, x, h, &layer->mlp, ACT_GELU, x);
    probe(r, "vit.%d", i, x, order->cell_host);
  }
  r->ops->gather_rows(r->dev, y, x, order->token, NULL);
  arena_release(r->arena, mark);
}
