#!/usr/bin/env python3
"""Writes what tests/weights reads:

  names.txt     every tensor that the image model needs, in a network of two or one of everything, with its shape
  official.pt   this network as Meta's sam3.pt has it, saved by torch
  flat.pt       some of its tensors without "detector." and without a dict around them
  features.pt   one tensor of each kind that a state dict may hold, saved by torch with pickle protocol 2
  features4.pt  the same with protocol 4

Element i of the tensor `name` is a function of both (value() here and in tests/weights/files.c), so no file of
expected values is needed. Needs torch, and tools/reference for Meta's names.
"""
import collections
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "tests" / "weights" / "fixtures"
sys.path.insert(0, str(HERE / "reference"))
from official_names import extras, official_tensors  # noqa: E402
from tensors import shapes  # noqa: E402

CONFIG = dict(
    vision_config=dict(backbone_config=dict(
        hidden_size=4, intermediate_size=5, num_hidden_layers=2, num_attention_heads=1, image_size=6, patch_size=2,
        pretrain_image_size=4, window_size=2, global_attn_indexes=[1], rope_parameters=dict(rope_theta=1e4))),
    text_config=dict(hidden_size=3, intermediate_size=4, num_hidden_layers=2, vocab_size=7, max_position_embeddings=5,
                     projection_dim=2),
    geometry_encoder_config=dict(hidden_size=8, num_layers=1, intermediate_size=3, roi_size=2),
    detr_encoder_config=dict(hidden_size=8, num_layers=1, intermediate_size=6),
    detr_decoder_config=dict(num_layers=1, intermediate_size=7, num_attention_heads=2, num_queries=6),
    mask_decoder_config=dict(num_upsampling_stages=3))
FLAT = "trunk.blocks.0.attn."
UNUSED = ("fpn_layers.3.", "text_encoder.text_projection", "conv_layers.2.", "norms.2.", "semantic_projection")


def value(name, shape):
    """24 bits of a hash of the name (32-bit FNV-1a) and the index, so that float32 has it exactly."""
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    return ((h + i * 2654435761 & 0xFFFFFFFF) >> 8).astype(np.float32).reshape(shape)


def features():
    """Views, shared storages, parameters and element types; OrderedDict with _metadata, as Module.state_dict()."""
    base = torch.arange(24, dtype=torch.float32)
    d = collections.OrderedDict(
        base=base, view=base[4:10].reshape(2, 3), transposed=base[:6].reshape(2, 3).t(),
        step=base[::2], parameter=torch.nn.Parameter(torch.tensor([1.5, -2.0])), scalar=torch.tensor(7.0),
        empty=torch.zeros(0, 4), half=torch.tensor([1.0, 0.5]).half(), bfloat=torch.tensor([1.0, 3.0]).bfloat16(),
        double=torch.tensor([1.0]).double(), long=torch.tensor([1 << 40]), complex=torch.tensor([1 + 2j]),
        flag=torch.tensor([True]), row=base[8:16].reshape(1, 8), big=torch.zeros(300, 300)[:1].clone())
    d["epoch"] = 3
    d["rate"] = 0.25
    d["note"] = None
    d._metadata = collections.OrderedDict({"": dict(version=1)})
    return d


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    all_shapes = shapes(CONFIG)
    needed = {n: s for n, s in all_shapes.items() if not any(u in n for u in UNUSED)}
    (OUT / "names.txt").write_text("".join(f"{n} {' '.join(map(str, s))}\n" for n, s in needed.items()))
    stored = official_tensors({n: value(n, s) for n, s in all_shapes.items()})
    stored.update(extras(CONFIG))
    torch.save({"model": {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in stored.items()}}, OUT / "official.pt")
    flat = {n.removeprefix("detector."): torch.from_numpy(v.copy()) for n, v in stored.items() if FLAT in n}
    torch.save(flat, OUT / "flat.pt")
    torch.save(features(), OUT / "features.pt")
    torch.save({"model": features()}, OUT / "features4.pt", pickle_protocol=4)
    print(len(needed), "names,", len(stored), "stored tensors")


if __name__ == "__main__":
    main()
