/* The text encoder: CLIP's, causal, so that a text needs no padding. */
#include "model/model.h"

/* x += causal self-attention(norm(x)), each text on its own. */
static void text_attention(struct run *r, struct tensor x, const struct encoder_layer *layer, const int *lengths,
                           int n) {
  int heads = r->net->config.text.stack.heads;
  size_t mark = arena_mark(r->arena);
  struct tensor h = take(r, x.rows, x.cols);
  r->ops->layer_norm(r->dev, h, x, &layer->norm1);
  attend_sequences(r, x, &x, h, lengths, n, &layer->attention, (struct attention){.heads = heads, .causal = true});
  arena_release(r->arena, mark);
}

void encode_text(struct run *r, struct tensor y, const int32_t *ids, const int *lengths, int n) {
  const struct text_weights *w = &r->net->text;
  const struct config_text *c = &r->net->config.text;
  size_t mark = arena_mark(r->arena);
  struct tensor x = take(r, y.rows, c->dim), position = take(r, y.rows, c->dim);
  int32_t *rows = arena_take(r->arena, (size_t)y.rows * sizeof *rows);
  r->ops->upload(r->dev, rows, ids, (size_t)y.rows * sizeof *rows);
  r->ops->gather_rows(r->dev, x, w->token, rows, NULL);
  for (int i = 0, first = 0; i < n; first += lengths[i++])
    r->ops->gather_rows(r->dev, rows_of(position, first, lengths[i]), w->position, r->plan->counting, NULL);
  r->ops->add(r->dev, x, x, position);
  for (int i = 0; i < c->stack.layers && progress(r, "text", (double)i / c->stack.layers); i++) {
    text_attention(r, x, &w->layers[i], lengths, n);
    mlp_prenorm(r, x, &w->layers[i].norm2, &w->layers[i].mlp, ACT_GELU);
  }
  r->ops->layer_norm(r->dev, x, x, &w->final);
  r->ops->linear(r->dev, y, x, &w->projection, ACT_NONE, NULL);
  arena_release(r->arena, mark);
}
