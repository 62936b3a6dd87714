#include "weights/names.h"

#include <stdio.h>
#include <string.h>

enum how {
  SAME,      /* only the name differs */
  FUSED_QKV, /* an attention whose q, k, v are rows of one tensor "qkv." */
  FUSED_IN,  /* the same as torch.nn.MultiheadAttention names it */
  CLASS_ROW, /* Meta's has a class token in front */
  UNUSED,    /* there, but of no use for images; the pattern is the beginning of the names */
};

#define TRUNK "backbone.vision_backbone.trunk."
#define CONVS "backbone.vision_backbone.convs."
#define CLIP "backbone.language_backbone.encoder."

/* A pattern that ends in '.' stands for all names that begin so, and what follows is the same on both sides.
 * '*' is a number, the same on both sides; '#' is a number that is one less on the official side.
 * The first row that fits decides. Both sides of UNUSED rows stand on their own. */
static const struct row {
  const char *part, *hf, *official;
  enum how how;
} rows[] = {
    /* clang-format off */
    {"vision", "vision_encoder.backbone.embeddings.position_embeddings", TRUNK "pos_embed", CLASS_ROW},
    {"vision", "vision_encoder.backbone.embeddings.patch_embeddings.projection.", TRUNK "patch_embed.proj.", SAME},
    {"vision", "vision_encoder.backbone.layer_norm.", TRUNK "ln_pre.", SAME},
    {"vision", "vision_encoder.backbone.layers.*.layer_norm1.", TRUNK "blocks.*.norm1.", SAME},
    {"vision", "vision_encoder.backbone.layers.*.layer_norm2.", TRUNK "blocks.*.norm2.", SAME},
    {"vision", "vision_encoder.backbone.layers.*.rotary_emb.", TRUNK "blocks.*.attn.freqs_cis", UNUSED},
    {"vision", "vision_encoder.backbone.layers.*.attention.", TRUNK "blocks.*.attn.", FUSED_QKV},
    {"vision", "vision_encoder.backbone.layers.*.mlp.", TRUNK "blocks.*.mlp.", SAME},

    {"neck", "vision_encoder.neck.fpn_layers.3.", CONVS "3.", UNUSED},
    {"neck", "vision_encoder.neck.fpn_layers.0.scale_layers.0.", CONVS "0.dconv_2x2_0.", SAME},
    {"neck", "vision_encoder.neck.fpn_layers.0.scale_layers.2.", CONVS "0.dconv_2x2_1.", SAME},
    {"neck", "vision_encoder.neck.fpn_layers.1.scale_layers.0.", CONVS "1.dconv_2x2.", SAME},
    {"neck", "vision_encoder.neck.fpn_layers.*.proj1.", CONVS "*.conv_1x1.", SAME},
    {"neck", "vision_encoder.neck.fpn_layers.*.proj2.", CONVS "*.conv_3x3.", SAME},

    {"text", "text_encoder.text_model.embeddings.position_ids", CLIP "attn_mask", UNUSED},
    {"text", "text_encoder.text_projection.", CLIP "text_projection", UNUSED},
    {"text", "text_encoder.text_model.embeddings.token_embedding.", CLIP "token_embedding.", SAME},
    {"text", "text_encoder.text_model.embeddings.position_embedding.weight", CLIP "positional_embedding", SAME},
    {"text", "text_encoder.text_model.encoder.layers.*.self_attn.", CLIP "transformer.resblocks.*.attn.", FUSED_IN},
    {"text", "text_encoder.text_model.encoder.layers.*.layer_norm1.", CLIP "transformer.resblocks.*.ln_1.", SAME},
    {"text", "text_encoder.text_model.encoder.layers.*.layer_norm2.", CLIP "transformer.resblocks.*.ln_2.", SAME},
    {"text", "text_encoder.text_model.encoder.layers.*.mlp.fc1.", CLIP "transformer.resblocks.*.mlp.c_fc.", SAME},
    {"text", "text_encoder.text_model.encoder.layers.*.mlp.fc2.", CLIP "transformer.resblocks.*.mlp.c_proj.", SAME},
    {"text", "text_encoder.text_model.final_layer_norm.", CLIP "ln_final.", SAME},
    {"text", "text_projection.", "backbone.language_backbone.resizer.", SAME},

    {"geometry", "geometry_encoder.points_", "geometry_encoder.points_", UNUSED},
    {"geometry", "geometry_encoder.label_embed.", "geometry_encoder.label_embed.", SAME},
    {"geometry", "geometry_encoder.cls_embed.", "geometry_encoder.cls_embed.", SAME},
    {"geometry", "geometry_encoder.boxes_direct_project.", "geometry_encoder.boxes_direct_project.", SAME},
    {"geometry", "geometry_encoder.boxes_pool_project.", "geometry_encoder.boxes_pool_project.", SAME},
    {"geometry", "geometry_encoder.boxes_pos_enc_project.", "geometry_encoder.boxes_pos_enc_project.", SAME},
    {"geometry", "geometry_encoder.vision_layer_norm.", "geometry_encoder.img_pre_norm.", SAME},
    {"geometry", "geometry_encoder.final_proj.", "geometry_encoder.final_proj.", SAME},
    {"geometry", "geometry_encoder.prompt_layer_norm.", "geometry_encoder.norm.", SAME},
    {"geometry", "geometry_encoder.output_layer_norm.", "geometry_encoder.encode_norm.", SAME},
    {"geometry", "geometry_encoder.layers.*.self_attn.", "geometry_encoder.encode.*.self_attn.", FUSED_IN},
    {"geometry", "geometry_encoder.layers.*.cross_attn.", "geometry_encoder.encode.*.cross_attn_image.", FUSED_IN},
    {"geometry", "geometry_encoder.layers.*.layer_norm1.", "geometry_encoder.encode.*.norm1.", SAME},
    {"geometry", "geometry_encoder.layers.*.layer_norm2.", "geometry_encoder.encode.*.norm2.", SAME},
    {"geometry", "geometry_encoder.layers.*.layer_norm3.", "geometry_encoder.encode.*.norm3.", SAME},
    {"geometry", "geometry_encoder.layers.*.mlp.fc1.", "geometry_encoder.encode.*.linear1.", SAME},
    {"geometry", "geometry_encoder.layers.*.mlp.fc2.", "geometry_encoder.encode.*.linear2.", SAME},

    {"fusion", "detr_encoder.layers.*.self_attn.", "transformer.encoder.layers.*.self_attn.", FUSED_IN},
    {"fusion", "detr_encoder.layers.*.cross_attn.", "transformer.encoder.layers.*.cross_attn_image.", FUSED_IN},
    {"fusion", "detr_encoder.layers.*.layer_norm1.", "transformer.encoder.layers.*.norm1.", SAME},
    {"fusion", "detr_encoder.layers.*.layer_norm2.", "transformer.encoder.layers.*.norm2.", SAME},
    {"fusion", "detr_encoder.layers.*.layer_norm3.", "transformer.encoder.layers.*.norm3.", SAME},
    {"fusion", "detr_encoder.layers.*.mlp.fc1.", "transformer.encoder.layers.*.linear1.", SAME},
    {"fusion", "detr_encoder.layers.*.mlp.fc2.", "transformer.encoder.layers.*.linear2.", SAME},

    {"decoder", "detr_decoder.instance_", "transformer.decoder.instance_", UNUSED},
    {"decoder", "detr_decoder.query_embed.", "transformer.decoder.query_embed.", SAME},
    {"decoder", "detr_decoder.reference_points.", "transformer.decoder.reference_points.", SAME},
    {"decoder", "detr_decoder.presence_token.", "transformer.decoder.presence_token.", SAME},
    {"decoder", "detr_decoder.presence_head.layer#.", "transformer.decoder.presence_token_head.layers.#.", SAME},
    {"decoder", "detr_decoder.presence_layer_norm.", "transformer.decoder.presence_token_out_norm.", SAME},
    {"decoder", "detr_decoder.output_layer_norm.", "transformer.decoder.norm.", SAME},
    {"decoder", "detr_decoder.box_head.layer#.", "transformer.decoder.bbox_embed.layers.#.", SAME},
    {"decoder", "detr_decoder.ref_point_head.layer#.", "transformer.decoder.ref_point_head.layers.#.", SAME},
    {"decoder", "detr_decoder.box_rpb_embed_x.layer#.", "transformer.decoder.boxRPB_embed_x.layers.#.", SAME},
    {"decoder", "detr_decoder.box_rpb_embed_y.layer#.", "transformer.decoder.boxRPB_embed_y.layers.#.", SAME},
    {"decoder", "detr_decoder.layers.*.self_attn.", "transformer.decoder.layers.*.self_attn.", FUSED_IN},
    {"decoder", "detr_decoder.layers.*.text_cross_attn.", "transformer.decoder.layers.*.ca_text.", FUSED_IN},
    {"decoder", "detr_decoder.layers.*.vision_cross_attn.", "transformer.decoder.layers.*.cross_attn.", FUSED_IN},
    {"decoder", "detr_decoder.layers.*.vision_cross_attn_layer_norm.", "transformer.decoder.layers.*.norm1.", SAME},
    {"decoder", "detr_decoder.layers.*.self_attn_layer_norm.", "transformer.decoder.layers.*.norm2.", SAME},
    {"decoder", "detr_decoder.layers.*.mlp_layer_norm.", "transformer.decoder.layers.*.norm3.", SAME},
    {"decoder", "detr_decoder.layers.*.text_cross_attn_layer_norm.", "transformer.decoder.layers.*.catext_norm.", SAME},
    {"decoder", "detr_decoder.layers.*.mlp.fc1.", "transformer.decoder.layers.*.linear1.", SAME},
    {"decoder", "detr_decoder.layers.*.mlp.fc2.", "transformer.decoder.layers.*.linear2.", SAME},

    {"scoring", "dot_product_scoring.text_mlp.layer#.", "dot_prod_scoring.prompt_mlp.layers.#.", SAME},
    {"scoring", "dot_product_scoring.text_mlp_out_norm.", "dot_prod_scoring.prompt_mlp.out_norm.", SAME},
    {"scoring", "dot_product_scoring.text_proj.", "dot_prod_scoring.prompt_proj.", SAME},
    {"scoring", "dot_product_scoring.query_proj.", "dot_prod_scoring.hs_proj.", SAME},

    {"mask head", "mask_decoder.semantic_projection.", "segmentation_head.semantic_seg_head.", UNUSED},
    {"mask head", "mask_decoder.prompt_cross_attn.", "segmentation_head.cross_attend_prompt.", FUSED_IN},
    {"mask head", "mask_decoder.prompt_cross_attn_norm.", "segmentation_head.cross_attn_norm.", SAME},
    {"mask head", "mask_decoder.pixel_decoder.conv_layers.0.", "segmentation_head.pixel_decoder.conv_layers.0.", SAME},
    {"mask head", "mask_decoder.pixel_decoder.conv_layers.1.", "segmentation_head.pixel_decoder.conv_layers.1.", SAME},
    {"mask head", "mask_decoder.pixel_decoder.norms.0.", "segmentation_head.pixel_decoder.norms.0.", SAME},
    {"mask head", "mask_decoder.pixel_decoder.norms.1.", "segmentation_head.pixel_decoder.norms.1.", SAME},
    {"mask head", "mask_decoder.pixel_decoder.", "segmentation_head.pixel_decoder.", UNUSED},
    {"mask head", "mask_decoder.mask_embedder.", "segmentation_head.mask_predictor.mask_embed.", SAME},
    {"mask head", "mask_decoder.instance_projection.", "segmentation_head.instance_seg_head.", SAME},

    {"other", "tracker_model.", "tracker.", UNUSED},
    {"other", "tracker_neck.", "backbone.vision_backbone.sam2_convs.", UNUSED},
    {"other", "vision_encoder.tracker_neck.", "inst_interactive_predictor.", UNUSED},
    /* clang-format on */
};

/* How the projections of an attention are called, after the row's pattern. */
static const struct leaf {
  enum how how;
  const char *hf, *official;
  int third;
} leaves[] = {
    {FUSED_QKV, "q_proj.", "qkv.", 0},        {FUSED_QKV, "k_proj.", "qkv.", 1},
    {FUSED_QKV, "v_proj.", "qkv.", 2},        {FUSED_QKV, "o_proj.", "proj.", -1},
    {FUSED_IN, "q_proj.", "in_proj_", 0},     {FUSED_IN, "k_proj.", "in_proj_", 1},
    {FUSED_IN, "v_proj.", "in_proj_", 2},     {FUSED_IN, "o_proj.", "out_proj.", -1},
    {FUSED_IN, "out_proj.", "out_proj.", -1},
};

/* ----------------------------------------------------------------------------------- matching */

struct match {
  int number;       /* what '*' or '#' stood for, as the HF side counts */
  const char *rest; /* of the name, behind the pattern */
};

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool match_pattern(const char *pattern, const char *name, bool official, bool open, struct match *match) {
  const char *p = pattern;
  for (; *p; p++) {
    if (*p != '*' && *p != '#') {
      if (*p != *name++)
        return false;
      continue;
    }
    if (!is_digit(*name) || (*name == '0' && is_digit(name[1])))
      return false;
    match->number = 0;
    for (int digits = 0; is_digit(*name); digits++) {
      if (digits == 4)
        return false;
      match->number = 10 * match->number + (*name++ - '0');
    }
    if (*p == '#') {
      match->number += official;
      if (match->number == 0)
        return false;
    }
  }
  match->rest = name;
  return open || p[-1] == '.' || !*name;
}

/* `pattern` with the number filled in, onto the end of place->name. False when it does not fit. */
static bool append(struct place *place, const char *pattern, int number) {
  size_t n = strlen(place->name);
  for (; *pattern; pattern++) {
    char piece[12] = {*pattern};
    if (*pattern == '*' || *pattern == '#')
      snprintf(piece, sizeof piece, "%d", number - (*pattern == '#'));
    size_t length = strlen(piece);
    if (n + length >= NAME_SIZE)
      return false;
    memcpy(place->name + n, piece, length + 1);
    n += length;
  }
  return true;
}

static bool place_official(const char *hf_name, struct place *place) {
  struct match match = {0};
  for (const struct row *row = rows; row < rows + sizeof rows / sizeof *rows; row++) {
    if (row->how == UNUSED || !match_pattern(row->hf, hf_name, false, false, &match))
      continue;
    place->class_row = row->how == CLASS_ROW;
    if (!append(place, row->official, match.number))
      return false;
    if (row->how != FUSED_QKV && row->how != FUSED_IN)
      return append(place, match.rest, 0);
    for (const struct leaf *leaf = leaves; leaf < leaves + sizeof leaves / sizeof *leaves; leaf++) {
      size_t length = strlen(leaf->hf);
      if (leaf->how == row->how && !strncmp(match.rest, leaf->hf, length)) {
        place->third = leaf->third;
        return append(place, leaf->official, 0) && append(place, match.rest + length, 0);
      }
    }
    return false;
  }
  return false;
}

static const char text_model[] = "text_encoder.text_model.";

bool names_place(const struct scheme *scheme, const char *hf_name, struct place *place) {
  *place = (struct place){.third = -1};
  if (!append(place, scheme->prefix, 0))
    return false;
  if (scheme->official)
    return place_official(hf_name, place);
  if (scheme->short_text && !strncmp(hf_name, text_model, sizeof text_model - 1))
    return append(place, "text_encoder.", 0) && append(place, hf_name + sizeof text_model - 1, 0);
  return append(place, hf_name, 0);
}

struct role names_role(const struct scheme *scheme, const char *file_name) {
  size_t length = strlen(scheme->prefix);
  if (strncmp(file_name, scheme->prefix, length))
    return (struct role){"other", true};
  const char *name = file_name + length;
  char spelled[NAME_SIZE];
  if (scheme->short_text && !strncmp(name, "text_encoder.", 13) && strncmp(name, "text_encoder.text_", 18)) {
    snprintf(spelled, sizeof spelled, "%s%s", text_model, name + 13);
    name = spelled;
  }
  struct match match;
  for (const struct row *row = rows; row < rows + sizeof rows / sizeof *rows; row++)
    if (match_pattern(scheme->official ? row->official : row->hf, name, scheme->official, row->how == UNUSED, &match))
      return (struct role){row->part, row->how == UNUSED};
  return (struct role){"other", false};
}
