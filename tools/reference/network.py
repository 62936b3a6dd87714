"""SAM 3's image model as Meta's code runs it, on the modules of transformers' Sam3Model, with a probe after every stage.

Where Meta's code and transformers differ (docs/model.md) this does what Meta's does: LayerNorm eps 1e-5 in the vision
encoder, features of the last global layer, the geometry encoder's CLS token in every prompt, no clamp on the presence
logit, text padded with id 0 and masked where the id is 0, masks resized as logits.
"""
import math
import warnings

import numpy as np
import roi_align  # noqa: F401
import torch
import torch.nn.functional as F
from transformers.initialization import no_init_weights
from transformers.models.sam3.configuration_sam3 import Sam3Config
from transformers.models.sam3.modeling_sam3 import Sam3Model, box_cxcywh_to_xyxy, inverse_sigmoid

import containers
from tokenizer import Tokenizer


def silent(name, value):
    """A probe gets the name of a stage and its value as a matrix: rows are tokens or pixels."""


class Network:
    def __init__(self, folder):
        torch.set_grad_enabled(False)
        cfg, tensors = containers.read_checkpoint(folder)
        with no_init_weights():
            self.model = Sam3Model(Sam3Config(**cfg)).eval()
        with warnings.catch_warnings():  # the mapped file is read-only, and nobody writes
            warnings.simplefilter("ignore")
            state = {k: torch.from_numpy(v) for k, v in tensors.items()}
        self.model.load_state_dict(state, assign=True)
        backbone = self.model.vision_encoder.backbone
        vit = cfg["vision_config"]["backbone_config"]
        if vit["global_attn_indexes"]:
            del backbone.layers[max(vit["global_attn_indexes"]) + 1:]
        for module in backbone.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-5
        self.model.detr_decoder.clamp_presence_logit_max_val = math.inf
        self.image_size, self.patch = vit["image_size"], vit["patch_size"]
        self.context = min(32, cfg["text_config"]["max_position_embeddings"])
        self.tokenizer = Tokenizer()

    def pixels(self, image):
        """uint8 [h, w, 3] -> float [1, 3, size, size]: antialiased bilinear on uint8, then -1..1"""
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        size = (self.image_size, self.image_size)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        return (x.float() / 255 - .5) / .5

    def encode(self, image, probe=silent):
        """Neck levels 0, 1, 2 and their positions."""
        pixels = self.pixels(image)
        vision = self.model.vision_encoder
        grid = self.image_size // self.patch
        x = vision.backbone.embeddings(pixels)
        probe("patches", x[0])
        x = vision.backbone.layer_norm(x).view(1, grid, grid, -1)
        probe("vit.ln_pre", x[0].flatten(0, 1))
        for i, layer in enumerate(vision.backbone.layers):
            x = layer(x)
            probe(f"vit.{i}", x[0].flatten(0, 1))
        levels, positions = vision.neck(x.permute(0, 3, 1, 2))
        for i, level in enumerate(levels[:3]):
            probe(f"neck.{i}", level[0].flatten(1).T)
        return levels[:3], positions[:3]

    def segment(self, features, prompt, width, height, probe=silent):
        """Answers of every query: dict of presence (probability), scores [Q], boxes [Q, 4] in pixels and mask logits
        [Q, h, w]. prompt as in the program's --prompts."""
        m = self.model
        levels, positions = features
        boxes = prompt.get("boxes") or []
        text = prompt.get("text")
        if text is None:
            text = "visual"  # as the original does for boxes without a text
        ids = self.tokenizer(text, self.context)
        padded = torch.zeros(1, self.context, dtype=torch.long)
        padded[0, :len(ids)] = torch.tensor(ids)
        text_tokens = m.get_text_features(input_ids=padded, attention_mask=torch.ones_like(padded)).pooler_output
        probe("text", text_tokens[0, :len(ids)])

        corners = torch.tensor([b["box"] for b in boxes], dtype=torch.float32).view(1, len(boxes), 4)
        corners = corners / torch.tensor([width, height, width, height])
        x0, y0, x1, y1 = corners.unbind(-1)
        labels = torch.tensor([[b["label"] for b in boxes]], dtype=torch.long)
        geometry = m.geometry_encoder(
            box_embeddings=torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1),
            box_mask=torch.ones_like(labels, dtype=torch.bool), box_labels=labels, img_feats=levels,
            img_pos_embeds=positions)
        probe("geometry", geometry.last_hidden_state[0])

        tokens = torch.cat([text_tokens, geometry.last_hidden_state], 1)
        mask = torch.cat([padded != 0, geometry.attention_mask], 1)
        with Hooks(m.detr_encoder.layers, lambda i, x: probe(f"fusion.{i}", x[0])):
            fused = m.detr_encoder(vision_features=[levels[-1]], text_features=tokens,
                                   vision_pos_embeds=[positions[-1]], text_mask=mask)
        hidden = []
        with Hooks(m.detr_decoder.layers, lambda i, x: hidden.append(x)):
            decoded = m.detr_decoder(vision_features=fused.last_hidden_state, text_features=tokens,
                                     vision_pos_encoding=fused.pos_embeds_flattened, text_mask=mask,
                                     spatial_shapes=fused.spatial_shapes)
        normed = decoded.intermediate_hidden_states[-1]
        before = decoded.reference_boxes  # of each layer
        box = (inverse_sigmoid(before[-1]) + m.detr_decoder.box_head(normed)).sigmoid()
        for i, h in enumerate(hidden):
            probe(f"decoder.{i}.hidden", h[0])
            probe(f"decoder.{i}.boxes", before[i + 1][0] if i + 1 < len(before) else box[0])
        presence = decoded.presence_logits[-1]
        probe("presence", presence.view(1, 1))
        logits = m.dot_product_scoring(normed[None], tokens, mask)[0, 0, :, 0]
        probe("logits", logits[:, None])
        box = box_cxcywh_to_xyxy(box)[0]
        probe("boxes", box)
        with Hooks([m.mask_decoder.pixel_decoder], lambda i, x: probe("mask.pixels", x[0].flatten(1).T)):
            masks = m.mask_decoder(decoder_queries=normed, backbone_features=list(levels),
                                   encoder_hidden_states=fused.last_hidden_state, prompt_features=tokens,
                                   prompt_mask=mask).pred_masks[0]
        probe("masks", masks.flatten(1))
        presence = presence.sigmoid().view(())
        return dict(tokens=ids, presence=presence.item(), scores=(logits.sigmoid() * presence).numpy(),
                    boxes=(box * torch.tensor([width, height, width, height])).numpy(), masks=masks)


class Hooks:
    """While entered, calls see(index, output) after each of the modules has run."""

    def __init__(self, modules, see):
        self.modules, self.see = modules, see

    def __enter__(self):
        self.handles = [m.register_forward_hook(lambda _m, _in, out, i=i: self.see(i, out))
                        for i, m in enumerate(self.modules)]

    def __exit__(self, *_):
        for h in self.handles:
            h.remove()


def full_masks(logits, width, height):
    """uint8 [n, height, width] of mask logits [n, h, w]"""
    if not len(logits):
        return np.zeros((0, height, width), np.uint8)
    big = F.interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    return (big.sigmoid() > .5).to(torch.uint8).numpy()
