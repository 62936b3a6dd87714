"""The demo model: a small configuration of transformers' Sam3Model, its start values, and the official forward pass.

Official means as Meta's code runs SAM 3: the geometry encoder's CLS token is part of every prompt, text is padded
with id 0 and masked, the presence logit is not clamped.  B images, N prompts, Q queries, L decoder layers, D width.
"""
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import CLIPTokenizer, Sam3Config, Sam3Model

HERE = Path(__file__).resolve().parent
SIZE, PATCH, WIDTH, QUERIES = 336, 16, 96, 36
GRID = SIZE // PATCH
VIT, TEXT = 192, 64


def config():
    part = lambda layers: dict(hidden_size=WIDTH, num_layers=layers, num_attention_heads=4, intermediate_size=2 * WIDTH)
    return Sam3Config(
        vision_config=dict(
            backbone_config=dict(model_type="sam3_vit_model", hidden_size=VIT, intermediate_size=4 * VIT, num_hidden_layers=6,
                                 num_attention_heads=6, image_size=SIZE, patch_size=PATCH, pretrain_image_size=SIZE,
                                 window_size=7, global_attn_indexes=[2, 5], layer_norm_eps=1e-5,
                                 rope_parameters=dict(rope_type="axial", rope_theta=10000.0)),
            fpn_hidden_size=WIDTH, backbone_feature_sizes=[[4 * GRID, 4 * GRID], [2 * GRID, 2 * GRID], [GRID, GRID]]),
        text_config=dict(model_type="clip_text_model", vocab_size=49408, hidden_size=TEXT, intermediate_size=4 * TEXT,
                         projection_dim=TEXT, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32,
                         hidden_act="gelu", eos_token_id=49407, bos_token_id=49406),
        geometry_encoder_config=part(1) | dict(roi_size=7), detr_encoder_config=part(2),
        detr_decoder_config=part(3) | dict(num_queries=QUERIES),
        mask_decoder_config=dict(hidden_size=WIDTH, num_attention_heads=4))


def build(seed=0):
    """A new model with start values that let it learn from scratch."""
    torch.manual_seed(seed)
    model = Sam3Model(config())
    _start_values(model)
    return prepare(model)


def prepare(model):
    """Official behaviour and no dropout, on a model of any origin."""
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    model.detr_decoder.clamp_presence_logit_max_val = math.inf
    return model


@torch.no_grad()
def weights_of(folder):
    """A checkpoint's weights; if it was trained on images of another size, its position embedding is made to fit."""
    model = Sam3Model.from_pretrained(folder, dtype=torch.float32)
    weights, name = model.state_dict(), "vision_encoder.backbone.embeddings.position_embeddings"
    had = math.isqrt(weights[name].shape[1])
    if had != GRID:
        grid = weights[name].view(1, had, had, VIT).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(grid, (GRID, GRID), mode="bicubic", align_corners=False)
        weights[name] = grid.permute(0, 2, 3, 1).reshape(1, GRID * GRID, VIT)
    return weights


@torch.no_grad()
def _start_values(model):
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
        elif isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu" if "pixel_decoder" in name else "linear")
        elif isinstance(m, nn.ConvTranspose2d):
            nn.init.normal_(m.weight, std=1 / math.sqrt(m.weight.shape[0]))
        if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) and m.bias is not None:
            nn.init.zeros_(m.bias)
    vit = model.vision_encoder.backbone
    for name, p in vit.named_parameters():
        if name.endswith(("o_proj.weight", "fc2.weight")):
            p.mul_(1 / math.sqrt(2 * len(vit.layers)))
        elif "position_embeddings" in name:
            nn.init.normal_(p, std=0.1)
    for name, p in model.text_encoder.named_parameters():
        if "token_embedding" in name:
            nn.init.normal_(p, std=0.5)
        elif "position_embedding" in name:
            nn.init.normal_(p, std=0.1)
    dec = model.detr_decoder
    nn.init.normal_(dec.query_embed.weight)
    nn.init.normal_(dec.presence_token.weight)
    side = math.isqrt(QUERIES)
    at = (torch.arange(side) + 0.5) / side                       # reference boxes on a grid
    y, x = torch.meshgrid(at, at, indexing="ij")
    ref = torch.stack([x.flatten(), y.flatten(), torch.full((QUERIES,), 0.25), torch.full((QUERIES,), 0.25)], 1)
    dec.reference_points.weight.copy_(torch.logit(ref))
    nn.init.zeros_(dec.box_head.layer3.weight)
    for mlp in (dec.box_rpb_embed_x, dec.box_rpb_embed_y):       # each head prefers patches inside the box, more or less
        slope = torch.linspace(2, 10, mlp.layer2.weight.shape[0])
        nn.init.normal_(mlp.layer1.weight, std=0.3)
        nn.init.normal_(mlp.layer2.weight, std=0.02)
        mlp.layer1.weight[0] = torch.tensor([-1.0, 0.0])         # left of (above) the box
        mlp.layer1.weight[1] = torch.tensor([0.0, 1.0])          # right of (below) it
        mlp.layer2.weight[:, :2] = -slope[:, None]


@torch.no_grad()
def whiten_patches(model, images):
    """Start the patch embedding as the principal components of the patches of uint8 [B, SIZE, SIZE, 3], nearly whitened:
    a random one shows little but each patch's mean colour."""
    px = torch.nn.functional.unfold(pixels(images), PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(px.T))
    top = values.argsort(descending=True)[:VIT]
    scale = (values[top] / values[top[0]] + 1e-4) ** -0.4 / values[top[0]].sqrt()
    weight = model.vision_encoder.backbone.embeddings.patch_embeddings.projection.weight
    mixed = torch.linalg.qr(torch.randn(VIT, VIT))[0]          # no channel is louder than another
    weight.copy_((mixed @ (vectors[:, top] * scale).T).view(weight.shape))


class Tokenizer:
    """Phrases to CLIP ids [N, T] int64, padded with 0 to the longest, and their mask [N, T] bool."""

    def __init__(self):
        self.clip = CLIPTokenizer(vocab=str(HERE / "vocab.json"), merges=str(HERE / "merges.txt"))
        self.known = {}

    def __call__(self, texts):
        for t in texts:
            if t not in self.known:
                self.known[t] = self.clip(t, truncation=True, max_length=32)["input_ids"]
        rows = [self.known[t] for t in texts]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for i, r in enumerate(rows):
            ids[i, :len(r)] = torch.tensor(r)
        return ids, ids != 0


def roi_align(features, boxes, out):
    """torchvision's roi_align (aligned=False, adaptive sampling) of one image a row.

    features [N, D, H, W], boxes [N, K, 4] xyxy in cells -> [N * K, D, out, out].  Sampling and averaging are linear,
    so each axis is one matrix [N, K, out, H or W].
    """
    def axis(lo, hi, limit):
        size = (hi - lo).clamp(min=1)
        count = torch.ceil(size / out)                                         # samples a bin, [N, K]
        j = torch.arange(max(1, int(count.max())), device=lo.device)
        bins = torch.arange(out, device=lo.device)[:, None]
        at = lo[..., None, None] + (size / out)[..., None, None] * (bins + (j + 0.5) / count[..., None, None])
        used = (j < count[..., None, None]) & (at >= -1) & (at <= limit)
        at = at.clamp(0, limit - 1)
        hat = (1 - (at[..., None] - torch.arange(limit, device=lo.device)).abs()).clamp(min=0)
        return (hat * used[..., None]).sum(-2) / count[..., None, None]
    x0, y0, x1, y1 = boxes.unbind(-1)
    rows, cols = axis(y0, y1, features.shape[2]), axis(x0, x1, features.shape[3])
    return torch.einsum("nkah,ndhw,nkbw->nkdab", rows, features, cols).flatten(0, 1)


@dataclass
class Batch:
    """N prompts over B images."""
    pixels: torch.Tensor      # [B, 3, SIZE, SIZE] float, -1..1
    ids: torch.Tensor         # [N, T] int64
    mask: torch.Tensor        # [N, T] bool
    image: torch.Tensor       # [N] int64, the image of each prompt
    boxes: torch.Tensor       # [N, K, 4] cxcywh in 0..1
    labels: torch.Tensor      # [N, K] int64, 1 like this, 0 unlike
    given: torch.Tensor       # [N, K] bool, false for padding


def pixels(images):
    """uint8 [B, SIZE, SIZE, 3] -> float [B, 3, SIZE, SIZE] in -1..1."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def vit(model, px):
    """[B, 3, SIZE, SIZE] -> [B, VIT, GRID, GRID]."""
    h = model.vision_encoder.backbone(px).last_hidden_state
    return h.view(len(px), GRID, GRID, -1).permute(0, 3, 1, 2)


def text(model, ids):
    """[N, T] -> [N, T, D]."""
    return model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True).pooler_output


def geometry(model, feature, position, b):
    """The prompt tokens of the boxes and the CLS token: [N, K + 1, D] and their mask [N, K + 1]."""
    enc, flat = model.geometry_encoder, lambda t: t.flatten(2).transpose(1, 2)
    if b.boxes.shape[1]:
        n, k = b.labels.shape
        normed = enc.vision_layer_norm(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        cx, cy, w, h = b.boxes.unbind(-1)
        corners = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1) * GRID
        pooled = enc.boxes_pool_project(roi_align(normed, corners, enc.roi_size)).view(n, k, -1)
        where = enc._encode_box_coordinates(*(v.flatten() for v in (cx, cy, w, h))).view(n, k, -1)
        tokens = enc.label_embed(b.labels) + enc.boxes_direct_project(b.boxes) + pooled + enc.boxes_pos_enc_project(where)
    else:
        tokens = feature.new_zeros(len(feature), 0, WIDTH)
    cls = enc.cls_embed.weight[None].expand(len(feature), -1, -1)
    tokens = enc.prompt_layer_norm(enc.final_proj(torch.cat([tokens, cls], 1)))
    mask = torch.cat([b.given, b.given.new_ones(len(feature), 1)], 1)
    attend = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -1e9)[:, None, None]
    for layer in enc.layers:
        tokens = layer(prompt_feats=tokens, vision_feats=flat(feature), vision_pos_encoding=flat(position), prompt_mask=attend)
    return enc.output_layer_norm(tokens), mask


def forward(model, b, mask_rows=None):
    """All decoder layers' answers to a batch.

    mask_rows: int64 [R], the prompts whose masks are wanted (default all).  Returns a dict: logits [L, N, Q],
    boxes [L, N, Q, 4] cxcywh, presence [L, N], masks [R, Q, 4 GRID, 4 GRID] logits, whole [R, 4 GRID, 4 GRID]
    logits of all instances together, patches [N, GRID * GRID, D] the fused image, feature [B, D, GRID, GRID].
    """
    fpn, where = model.vision_encoder.neck.fpn_layers, model.vision_encoder.neck.position_encoding
    spatial = vit(model, b.pixels)
    coarse = fpn[2](spatial)
    feature = coarse[b.image]
    position = where(coarse[:1].shape, coarse.device, coarse.dtype).expand(len(feature), -1, -1, -1)
    tokens, geo_mask = geometry(model, feature, position, b)
    prompt, pmask = torch.cat([text(model, b.ids), tokens], 1), torch.cat([b.mask, geo_mask], 1)
    enc = model.detr_encoder(vision_features=[feature], text_features=prompt, vision_pos_embeds=[position], text_mask=pmask)
    dec = model.detr_decoder(vision_features=enc.last_hidden_state, text_features=prompt, text_mask=pmask,
                             vision_pos_encoding=enc.pos_embeds_flattened, spatial_shapes=enc.spatial_shapes)
    h = dec.intermediate_hidden_states
    ref = dec.reference_boxes.clamp(0, 1)
    raw = torch.log(ref.clamp(min=1e-3) / (1 - ref).clamp(min=1e-3))
    out = dict(boxes=(raw + model.detr_decoder.box_head(h)).sigmoid(), presence=dec.presence_logits.squeeze(-1),
               logits=model.dot_product_scoring(h, prompt, pmask).squeeze(-1), patches=enc.last_hidden_state,
               spatial=spatial, feature=coarse)
    rows = torch.arange(len(feature), device=feature.device) if mask_rows is None else mask_rows
    if len(rows):
        used, at = b.image[rows].unique(return_inverse=True)
        fine = [layer(spatial[used])[at] for layer in fpn[:2]] + [feature[rows]]
        seg = model.mask_decoder(decoder_queries=h[-1][rows], backbone_features=fine,
                                 encoder_hidden_states=enc.last_hidden_state[rows], prompt_features=prompt[rows],
                                 prompt_mask=pmask[rows])
        out |= dict(masks=seg.pred_masks, whole=seg.semantic_seg[:, 0])
    return out
