"""Meta's names for the tensors: what sam3.pt holds. q, k and v are fused there, the text projection is transposed and
the position table has a class row in front."""
import re

import numpy as np

TRUNK, NECK = "backbone.vision_backbone.trunk.", "backbone.vision_backbone.convs."
TEXT = "backbone.language_backbone.encoder."

# Applied in order, each at most once a name.
RULES = [(re.compile(a), b) for a, b in (
    # vision
    (r"^vision_encoder\.backbone\.embeddings\.position_embeddings$", TRUNK + "pos_embed"),
    (r"^vision_encoder\.backbone\.embeddings\.patch_embeddings\.projection", TRUNK + "patch_embed.proj"),
    (r"^vision_encoder\.backbone\.layer_norm\.", TRUNK + "ln_pre."),
    (r"^vision_encoder\.backbone\.layers\.(\d+)\.layer_norm", TRUNK + r"blocks.\1.norm"),
    (r"^vision_encoder\.backbone\.layers\.(\d+)\.attention\.o_proj", TRUNK + r"blocks.\1.attn.proj"),
    (r"^vision_encoder\.backbone\.layers\.(\d+)\.attention", TRUNK + r"blocks.\1.attn"),
    (r"^vision_encoder\.backbone\.layers\.", TRUNK + "blocks."),
    # neck
    (r"^vision_encoder\.neck\.fpn_layers\.0\.scale_layers\.0", NECK + "0.dconv_2x2_0"),
    (r"^vision_encoder\.neck\.fpn_layers\.0\.scale_layers\.2", NECK + "0.dconv_2x2_1"),
    (r"^vision_encoder\.neck\.fpn_layers\.1\.scale_layers\.0", NECK + "1.dconv_2x2"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.proj1", NECK + r"\1.conv_1x1"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d)\.proj2", NECK + r"\1.conv_3x3"),
    # text
    (r"^text_projection\.", "backbone.language_backbone.resizer."),
    (r"^text_encoder\.text_projection\.weight$", TEXT + "text_projection"),
    (r"^text_encoder\.text_model\.embeddings\.position_embedding\.weight$", TEXT + "positional_embedding"),
    (r"^text_encoder\.text_model\.embeddings\.", TEXT),
    (r"^text_encoder\.text_model\.final_layer_norm", TEXT + "ln_final"),
    (r"^text_encoder\.text_model\.encoder\.layers\.(\d+)\.self_attn", TEXT + r"transformer.resblocks.\1.attn"),
    (r"^text_encoder\.text_model\.encoder\.layers\.(\d+)\.layer_norm", TEXT + r"transformer.resblocks.\1.ln_"),
    (r"^text_encoder\.text_model\.encoder\.layers\.(\d+)\.mlp\.fc1", TEXT + r"transformer.resblocks.\1.mlp.c_fc"),
    (r"^text_encoder\.text_model\.encoder\.layers\.(\d+)\.mlp\.fc2", TEXT + r"transformer.resblocks.\1.mlp.c_proj"),
    # geometry and fusion
    (r"^geometry_encoder\.vision_layer_norm", "geometry_encoder.img_pre_norm"),
    (r"^geometry_encoder\.prompt_layer_norm", "geometry_encoder.norm"),
    (r"^geometry_encoder\.output_layer_norm", "geometry_encoder.encode_norm"),
    (r"^geometry_encoder\.layers\.", "geometry_encoder.encode."),
    (r"^detr_encoder\.", "transformer.encoder."),
    (r"^(geometry_encoder\.encode|transformer\.encoder\.layers)\.(\d+)\.cross_attn", r"\1.\2.cross_attn_image"),
    (r"^(geometry_encoder\.encode|transformer\.encoder\.layers)\.(\d+)\.layer_norm", r"\1.\2.norm"),
    (r"^(geometry_encoder\.encode|transformer\.encoder\.layers)\.(\d+)\.mlp\.fc", r"\1.\2.linear"),
    # decoder
    (r"^detr_decoder\.output_layer_norm", "transformer.decoder.norm"),
    (r"^detr_decoder\.presence_layer_norm", "transformer.decoder.presence_token_out_norm"),
    (r"^detr_decoder\.presence_head", "transformer.decoder.presence_token_head"),
    (r"^detr_decoder\.box_head", "transformer.decoder.bbox_embed"),
    (r"^detr_decoder\.box_rpb_embed_", "transformer.decoder.boxRPB_embed_"),
    (r"^detr_decoder\.", "transformer.decoder."),
    (r"^(transformer\.decoder\.layers\.\d+)\.vision_cross_attn_layer_norm", r"\1.norm1"),
    (r"^(transformer\.decoder\.layers\.\d+)\.self_attn_layer_norm", r"\1.norm2"),
    (r"^(transformer\.decoder\.layers\.\d+)\.mlp_layer_norm", r"\1.norm3"),
    (r"^(transformer\.decoder\.layers\.\d+)\.text_cross_attn_layer_norm", r"\1.catext_norm"),
    (r"^(transformer\.decoder\.layers\.\d+)\.text_cross_attn", r"\1.ca_text"),
    (r"^(transformer\.decoder\.layers\.\d+)\.vision_cross_attn", r"\1.cross_attn"),
    (r"^(transformer\.decoder\.layers\.\d+)\.mlp\.fc", r"\1.linear"),
    # scoring
    (r"^dot_product_scoring\.text_mlp_out_norm", "dot_prod_scoring.prompt_mlp.out_norm"),
    (r"^dot_product_scoring\.text_mlp", "dot_prod_scoring.prompt_mlp"),
    (r"^dot_product_scoring\.text_proj", "dot_prod_scoring.prompt_proj"),
    (r"^dot_product_scoring\.query_proj", "dot_prod_scoring.hs_proj"),
    # mask head
    (r"^mask_decoder\.mask_embedder", "segmentation_head.mask_predictor.mask_embed"),
    (r"^mask_decoder\.instance_projection", "segmentation_head.instance_seg_head"),
    (r"^mask_decoder\.semantic_projection", "segmentation_head.semantic_seg_head"),
    (r"^mask_decoder\.prompt_cross_attn_norm", "segmentation_head.cross_attn_norm"),
    (r"^mask_decoder\.prompt_cross_attn", "segmentation_head.cross_attend_prompt"),
    (r"^mask_decoder\.", "segmentation_head."),
    # everywhere
    (r"\.o_proj\.", ".out_proj."),
)]
MLP_LAYER = re.compile(r"(presence_token_head|bbox_embed|ref_point_head|boxRPB_embed_[xy]|prompt_mlp)\.layer(\d)\.")
QKV = re.compile(r"\.([qkv])_proj\.(weight|bias)$")


def official_name(name):
    """Meta's name of a tensor, without "detector."; q, k and v still apart, as ".q_proj.weight"."""
    for pattern, new in RULES:
        name = pattern.sub(new, name)
    return MLP_LAYER.sub(lambda m: f"{m[1]}.layers.{int(m[2]) - 1}.", name)


def official_tensors(tensors):
    """{official name: array} of {transformers name: array}."""
    out, apart = {}, {}
    for name, v in tensors.items():
        new = official_name(name)
        m = QKV.search(new)
        if m:
            fused = new[:m.start()] + (".qkv." if TRUNK in new else ".in_proj_") + m[2]
            apart.setdefault("detector." + fused, {})[m[1]] = v
            continue
        if new.endswith("pos_embed"):
            v = np.concatenate([np.full_like(v[:, :1], 7), v], 1)
        elif new == TEXT + "text_projection":
            v = np.ascontiguousarray(v.T)
        out["detector." + new] = v
    for name, parts in apart.items():
        out[name] = np.concatenate([parts[c] for c in "qkv"])
    return out


def extras(cfg):
    """What the published file holds besides and an image program passes over: rotary tables (complex), the points
    branch, the tracker."""
    random = np.random.RandomState(5)
    dim = cfg["geometry_encoder_config"]["hidden_size"]
    vit = cfg["vision_config"]["backbone_config"]
    out = {}
    for name, width in (("direct", 2), ("pool", dim), ("pos_enc", dim)):
        base = f"detector.geometry_encoder.points_{name}_project."
        out[base + "weight"] = random.random_sample((dim, width)).astype(np.float32)
        out[base + "bias"] = random.random_sample(dim).astype(np.float32)
    head = vit["hidden_size"] // vit["num_attention_heads"]
    theta = vit["rope_parameters"]["rope_theta"]
    frequency = theta ** -(np.arange(0, head, 4) / head)
    for i in range(vit["num_hidden_layers"]):
        window = i not in vit["global_attn_indexes"]
        side = vit["window_size"] if window else vit["image_size"] // vit["patch_size"]
        y, x = np.divmod(np.arange(side * side), side)
        angle = np.concatenate([np.outer(p * vit["window_size"] / side, frequency) for p in (x, y)], 1)
        out[f"detector.{TRUNK}blocks.{i}.attn.freqs_cis"] = np.exp(1j * angle).astype(np.complex64)
    out["tracker.no_mem_embed"] = np.ones((1, 1, dim), np.float32)
    return out
