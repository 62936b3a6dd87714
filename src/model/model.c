#include "model/model.h"

void model_encode(struct run *r, struct image_features *out, const uint8_t *pixels) {
  const struct config_vision *c = &r->net->config.vision;
  size_t bytes = (size_t)c->image * (size_t)c->image * 3;
  struct run_mark mark = mark_run(r);
  struct tensor vision = take_shared(r, (int64_t)c->grid * c->grid, c->dim);
  uint8_t *image = arena_take(r->arena, bytes);
  r->ops->upload(r->dev, image, pixels, bytes);
  encode_vision(r, vision, image);
  encode_neck(r, out, vision);
  release_run(r, mark);
  begin_prompts(r, out);
}

/* y [n_text + n_boxes + 1, D]: the text's tokens, the boxes', CLS. */
static void prompt_tokens(struct run *r, struct tensor y, const struct image_features *image,
                          const struct model_prompt *prompt) {
  size_t mark = arena_mark(r->arena);
  int32_t *rows = arena_take(r->arena, (size_t)prompt->n_text * sizeof *rows);
  r->ops->upload(r->dev, rows, prompt->text_rows, (size_t)prompt->n_text * sizeof *rows);
  r->ops->gather_rows(r->dev, rows_of(y, 0, prompt->n_text), prompt->texts, rows, NULL);
  arena_release(r->arena, mark);
  struct tensor geometry = rows_of(y, prompt->n_text, prompt->n_boxes + 1);
  if (prompt->n_boxes)
    encode_geometry(r, geometry, image, prompt->boxes, prompt->n_boxes);
  else
    r->ops->copy(r->dev, geometry, image->cls);
  probe(r, "prompt", 0, y, NULL);
}

void model_answer(struct run *r, struct model_answer *out, const struct image_features *image,
                  const struct model_prompt *prompt) {
  const struct config *c = &r->net->config;
  *out = (struct model_answer){.decoded = {.queries = take_shared(r, c->queries, c->dim),
                                           .boxes = take_shared(r, c->queries, 4),
                                           .presence = take_shared(r, 1, 1)},
                               .logits = take_shared(r, c->queries, 1),
                               .tokens = take(r, prompt->n_text + prompt->n_boxes + 1, c->dim),
                               .memory = take_shared(r, (int64_t)c->vision.grid * c->vision.grid, c->dim)};
  prompt_tokens(r, out->tokens, image, prompt);
  fuse(r, out->memory, image, out->tokens);
  decode(r, &out->decoded, out->memory, out->tokens);
  score(r, out->logits, out->decoded.queries, out->tokens);
}
