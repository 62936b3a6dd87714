"""Every tensor of the network by name and shape, from config.json alone, and random values for each.

Names are those of transformers' Sam3Model. A test in check.py compares this list with the model's own state_dict.
"""
import hashlib
import math
import re

import numpy as np


def shapes(cfg):
    """{name: shape} of a detector's config dict."""
    out = {}
    vit = cfg["vision_config"]["backbone_config"]
    text = cfg["text_config"]
    dim = cfg["detr_encoder_config"]["hidden_size"]

    def linear(name, rows, cols, *kernel, bias=True):
        out[name + ".weight"] = (rows, cols, *kernel)
        if bias:
            out[name + ".bias"] = (rows,)

    def norm(name, width=dim):
        out[name + ".weight"] = out[name + ".bias"] = (width,)

    def attention(name, width=dim, last="o_proj"):
        for part in ("q_proj", "k_proj", "v_proj", last):
            linear(f"{name}.{part}", width, width)

    def mlp(name, hidden, width=dim):
        linear(name + ".fc1", hidden, width)
        linear(name + ".fc2", width, hidden)

    def head(name, *widths):
        for i, (a, b) in enumerate(zip(widths, widths[1:]), 1):
            linear(f"{name}.layer{i}", b, a)

    # vision
    width, patch = vit["hidden_size"], vit["patch_size"]
    table = vit["pretrain_image_size"] // patch
    b = "vision_encoder.backbone."
    out[b + "embeddings.position_embeddings"] = (1, table * table, width)
    linear(b + "embeddings.patch_embeddings.projection", width, 3, patch, patch, bias=False)
    norm(b + "layer_norm", width)
    for i in range(vit["num_hidden_layers"]):
        layer = f"{b}layers.{i}."
        norm(layer + "layer_norm1", width)
        attention(layer + "attention", width)
        norm(layer + "layer_norm2", width)
        mlp(layer + "mlp", vit["intermediate_size"], width)

    # neck: scales 4, 2, 1 and 0.5; transposed convolutions are stored [in, out, 2, 2]
    for i, ups in enumerate(((width // 2, width // 4), (width // 2,), (), ())):
        level, channels = f"vision_encoder.neck.fpn_layers.{i}.", width
        for j, up in enumerate(ups):
            out[f"{level}scale_layers.{2 * j}.weight"] = (channels, up, 2, 2)
            out[f"{level}scale_layers.{2 * j}.bias"] = (up,)
            channels = up
        linear(level + "proj1", dim, channels, 1, 1)
        linear(level + "proj2", dim, dim, 3, 3)

    # text
    width, t = text["hidden_size"], "text_encoder.text_model."
    out[t + "embeddings.token_embedding.weight"] = (text["vocab_size"], width)
    out[t + "embeddings.position_embedding.weight"] = (text["max_position_embeddings"], width)
    for i in range(text["num_hidden_layers"]):
        layer = f"{t}encoder.layers.{i}."
        attention(layer + "self_attn", width, "out_proj")
        norm(layer + "layer_norm1", width)
        mlp(layer + "mlp", text["intermediate_size"], width)
        norm(layer + "layer_norm2", width)
    norm(t + "final_layer_norm", width)
    linear("text_encoder.text_projection", text["projection_dim"], width, bias=False)
    linear("text_projection", dim, width)

    # geometry
    part, g = cfg["geometry_encoder_config"], "geometry_encoder."
    out[g + "label_embed.weight"] = (2, dim)
    out[g + "cls_embed.weight"] = (1, dim)
    linear(g + "boxes_direct_project", dim, 4)
    linear(g + "boxes_pool_project", dim, dim, part["roi_size"], part["roi_size"])
    linear(g + "boxes_pos_enc_project", dim, dim + 2)
    linear(g + "final_proj", dim, dim)
    for n in ("vision_layer_norm", "prompt_layer_norm", "output_layer_norm"):
        norm(g + n)

    # geometry and fusion layers are built alike
    for prefix, part in (("geometry_encoder", part), ("detr_encoder", cfg["detr_encoder_config"])):
        for i in range(part["num_layers"]):
            layer = f"{prefix}.layers.{i}."
            attention(layer + "self_attn")
            attention(layer + "cross_attn")
            mlp(layer + "mlp", part["intermediate_size"])
            for n in "123":
                norm(layer + "layer_norm" + n)

    # decoder
    part, d = cfg["detr_decoder_config"], "detr_decoder."
    for i in range(part["num_layers"]):
        layer = f"{d}layers.{i}."
        for a in ("self_attn", "text_cross_attn", "vision_cross_attn"):
            attention(layer + a)
            norm(f"{layer}{a}_layer_norm")
        mlp(layer + "mlp", part["intermediate_size"])
        norm(layer + "mlp_layer_norm")
    norm(d + "output_layer_norm")
    norm(d + "presence_layer_norm")
    head(d + "box_head", dim, dim, dim, 4)
    head(d + "presence_head", dim, dim, dim, 1)
    head(d + "ref_point_head", 2 * dim, dim, dim)
    for axis in "xy":
        head(f"{d}box_rpb_embed_{axis}", 2, dim, part["num_attention_heads"])
    out[d + "query_embed.weight"] = (part["num_queries"], dim)
    out[d + "reference_points.weight"] = (part["num_queries"], 4)
    out[d + "presence_token.weight"] = (1, dim)

    # scoring
    head("dot_product_scoring.text_mlp", dim, part["intermediate_size"], dim)
    norm("dot_product_scoring.text_mlp_out_norm")
    linear("dot_product_scoring.text_proj", dim, dim)
    linear("dot_product_scoring.query_proj", dim, dim)

    # mask head
    m = "mask_decoder."
    for i in range(cfg["mask_decoder_config"].get("num_upsampling_stages", 3)):
        linear(f"{m}pixel_decoder.conv_layers.{i}", dim, dim, 3, 3)
        norm(f"{m}pixel_decoder.norms.{i}")
    for i in range(3):
        linear(f"{m}mask_embedder.layers.{i}", dim, dim)
    linear(m + "instance_projection", dim, dim, 1, 1)
    linear(m + "semantic_projection", 1, dim, 1, 1)
    attention(m + "prompt_cross_attn")
    norm(m + "prompt_cross_attn_norm")
    return out


# A weight is uniform with standard deviation gain / sqrt(fan in). The gains were tuned until scores, presence, boxes
# and masks of random models spread over their ranges instead of all being alike, and until a small change of the input
# makes a small change of the output. The first pattern that is found in the name decides.
GAINS = [(re.compile(p), g) for p, g in (
    (r"detr_decoder\.layers.*self_attn\.o_proj", .3),
    (r"detr_decoder\.layers.*text_cross_attn\.o_proj", .3),
    (r"detr_decoder\.layers.*vision_cross_attn\.o_proj", .2),
    (r"detr_decoder\.layers.*vision_cross_attn\.[qk]_proj", .8),
    (r"detr_decoder\.layers.*\.[qk]_proj", 1.),
    (r"detr_decoder\.layers.*fc2", .6),
    (r"box_rpb_embed_[xy]\.layer2", 4.),
    (r"(box_head|ref_point_head)\.layer[23]\.", .8),
    (r"presence_head\.layer3", 2.),
    (r"dot_product_scoring\.query_proj", 2.2),
    (r"dot_product_scoring\.text_proj", 1.5),
    (r"query_embed", 1.5),
    (r"position_embedding", .5),
    (r"(token|label|cls)_(embedding|embed)|presence_token", 1.),
    (r"instance_projection", .8),
    (r"[qk]_proj", 1.4),
    (r"o(ut)?_proj|fc2", .8),
    (r"", 1.2),
)]
TABLE = re.compile(r"embeddings$|(embed|embedding|presence_token)\.weight$")  # looked up, not multiplied


def values(name, shape, seed):
    """The float32 values of one tensor: a function of its name, its shape and the seed, the same on any machine
    (MT19937 and elementwise arithmetic only; no sums, whose order could differ)."""
    key = hashlib.sha256(f"{seed} {name}".encode()).digest()
    random = np.random.RandomState(np.frombuffer(key[:16], "<u4"))
    u = random.random_sample(shape) * 2 - 1
    leaf = name.rsplit(".", 1)[-1]
    if name.endswith("reference_points.weight"):  # logits of cx, cy, w, h
        v = u * [2.2, 2.2, 1.5, 1.5] - [0, 0, .8, .8]
        v[4::5] *= 4  # some beyond the clamp of the inverse sigmoid
    elif "norm" in name and leaf == "weight":
        v = 1 + .5 * u
    elif leaf == "bias":
        v = .3 * u + (1.2 if "presence_head.layer3" in name else 0)
    elif "patch_embeddings" in name:  # smooth patches and little noise: images are smooth, too
        side = (np.arange(shape[-1]) * 2 + 1) / shape[-1] - 1
        y, x = side[:, None], side[None, :]
        a = (random.random_sample((4, *shape[:2], 1, 1)) * 2 - 1) * math.sqrt(3)
        v = (a[0] + a[1] * y + a[2] * x + a[3] * (y * x) + .3 * u) * (.3 / math.sqrt(3 * shape[-1] ** 2))
    else:
        gain = next(g for p, g in GAINS if p.search(name))
        fan_in = 1 if TABLE.search(name) else shape[0] if "scale_layers" in name else math.prod(shape[1:])
        v = u * (gain * math.sqrt(3 / fan_in))
    return v.astype(np.float32)
