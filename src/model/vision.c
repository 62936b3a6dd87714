/* The vision encoder: a ViT with attention in windows and, in some layers, over the whole grid. */
#include "model/model.h"

/* y = o(attention(h)) + residual (or NULL), h (overwritten) and y this rank's part of a row of windows that each attend
 * to themselves: all whole windows of the part at once, and what it has of a cut one by itself. */
static void attend_windows(struct run *r, struct tensor y, const struct tensor *residual, struct tensor h,
                           struct part part, int64_t window, const struct rope_table *rope,
                           const struct attention_weights *w) {
  struct run_mark mark = mark_run(r);
  struct attention shape = {.heads = r->net->config.vision.stack.heads, .rope_cos = rope->cos, .rope_sin = rope->sin};
  const struct attention all = project(r, h, h, h, w, shape, &part);
  struct attention some = all;
  for (int64_t at = 0, n; at < part.n; at += n) {
    int64_t inside = (part.first + at) % window, begin = part.first + at - inside, left = part.n - at;
    bool whole = inside == 0 && left >= window;
    n = whole ? left / window * window : left < window - inside ? left : window - inside;
    some.batch = whole ? (int)(n / window) : 1;
    some.q = rows_of(all.q, at, n);
    some.out = rows_of(all.out, at, n);
    some.k = rows_of(all.k, begin, whole ? n : window);
    some.v = rows_of(all.v, begin, whole ? n : window);
    some.first_query = inside;
    r->ops->attention(r->dev, &some);
  }
  r->ops->linear(r->dev, y, all.out, &w->o, ACT_NONE, residual);
  release_run(r, mark);
}

/* x += attention(h) in the windows or over the grid, x and h = norm(x) (overwritten) being all tokens. */
static void vision_attention(struct run *r, struct tensor x, struct tensor h, const struct attention_weights *w,
                             bool global) {
  const struct plan *plan = r->plan;
  const struct token_order *order = &plan->order;
  const struct part tokens = part_of(r, order->tokens);
  struct tensor own = mine(x, tokens);
  if (global || !order->padded) {
    attend_windows(r, own, &own, mine(h, tokens), tokens, global ? order->tokens : order->per_window,
                   global ? &plan->grid_rope : &plan->window_rope, w);
    return;
  }
  /* Windows are filled up with zeros behind the norm, and that padding is attended to. */
  const struct part places = part_of(r, (int64_t)order->windows * order->per_window);
  struct run_mark mark = mark_run(r);
  struct tensor filled = take(r, places.n, x.cols), out = take_shared(r, places.rows, x.cols);
  gather(r, h, tokens);
  r->ops->gather_rows(r->dev, filled, h, order->padded + places.first, NULL);
  attend_windows(r, mine(out, places), NULL, filled, places, order->per_window, &plan->window_rope, w);
  gather(r, out, places);
  h = mine(h, tokens);
  r->ops->gather_rows(r->dev, h, out, order->unpadded + tokens.first, NULL);
  r->ops->add(r->dev, own, own, h);
  release_run(r, mark);
}

void encode_vision(struct run *r, struct tensor y, const uint8_t *image) {
  const struct config_vision *c = &r->net->config.vision;
  const struct vision_weights *w = &r->net->vision;
  const struct token_order *order = &r->plan->order;
  const struct part tokens = part_of(r, order->tokens);
  struct run_mark mark = mark_run(r);
  struct tensor all = take_shared(r, order->tokens, c->dim), x = mine(all, tokens);
  struct tensor h = mine(y, tokens); /* y serves as the layers' scratch until it is written */

  size_t patches_mark = arena_mark(r->arena);
  struct tensor patches = take(r, x.rows, w->patch.w.cols);
  r->ops->patchify(r->dev, patches, image, c->image, c->patch, order->cell + tokens.first);
  r->ops->gather_rows(r->dev, x, w->position, r->plan->position_row + tokens.first, NULL);
  r->ops->linear(r->dev, x, patches, &w->patch, ACT_NONE, &x);
  arena_release(r->arena, patches_mark);
  probe(r, "patches", 0, all, order->cell_host);
  r->ops->layer_norm(r->dev, x, x, &w->pre);
  probe(r, "vit.ln_pre", 0, all, order->cell_host);

  for (int i = 0; i <= c->last_global && progress(r, "vision", (double)i / (c->last_global + 1)); i++) {
    const struct encoder_layer *layer = &w->layers[i];
    r->ops->layer_norm(r->dev, h, x, &layer->norm1);
    vision_attention(r, all, y, &layer->attention, c->is_global[i]);
    r->ops->layer_norm(r->dev, h, x, &layer->norm2);
    mlp(r, x, h, &layer->mlp, ACT_GELU, x);
    probe(r, "vit.%d", i, all, order->cell_host);
  }
  gather(r, all, tokens);
  r->ops->gather_rows(r->dev, mine(y, tokens), all, order->token + tokens.first, NULL);
  gather(r, y, tokens);
  release_run(r, mark);
}
