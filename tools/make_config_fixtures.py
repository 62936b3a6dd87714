#!/usr/bin/env python3
"""Writes tests/model/configs/*.json: config.json files as transformers saves them. Needs transformers.

  published.json   Sam3Config() in full, every default written out
  other.json       no size as published, only what transformers' save_pretrained writes
  hub.json         the same as sam3_video files on the hub have it: under detector_config, rope_theta on its own
"""
import json
from pathlib import Path

from transformers import Sam3Config

OUT = Path(__file__).resolve().parent.parent / "tests" / "model" / "configs"
PART = dict(hidden_size=48)
OTHER = dict(
    vision_config=dict(backbone_config=dict(
        model_type="sam3_vit_model", hidden_size=40, intermediate_size=72, num_hidden_layers=6, num_attention_heads=5,
        image_size=224, patch_size=16, pretrain_image_size=100, window_size=5, global_attn_indexes=[1, 4],
        layer_norm_eps=1e-4, rope_parameters=dict(rope_type="axial", rope_theta=500.0)), fpn_hidden_size=48),
    text_config=dict(model_type="clip_text_model", hidden_size=36, intermediate_size=52, num_hidden_layers=7,
                     num_attention_heads=9, max_position_embeddings=77, vocab_size=50000, hidden_act="gelu"),
    geometry_encoder_config=dict(num_layers=2, num_attention_heads=6, intermediate_size=44, roi_size=3, **PART),
    detr_encoder_config=dict(num_layers=4, num_attention_heads=2, intermediate_size=28, **PART),
    detr_decoder_config=dict(num_layers=5, num_attention_heads=12, intermediate_size=20, num_queries=17, **PART),
    mask_decoder_config=dict(num_attention_heads=3, **PART))


def write(name, config):
    (OUT / name).write_text(json.dumps(config, indent=1) + "\n")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    full = lambda config: json.loads(config.to_json_string(use_diff=False))
    write("published.json", full(Sam3Config()))
    write("other.json", json.loads(Sam3Config(**OTHER).to_json_string()))
    hub = full(Sam3Config(**OTHER))
    vit = hub["vision_config"]["backbone_config"]
    vit["rope_theta"] = vit.pop("rope_parameters")["rope_theta"]
    write("hub.json", {"architectures": ["Sam3VideoModel"], "model_type": "sam3_video", "detector_config": hub,
                       "image_size": 1008, "score_threshold_detection": 0.5})


if __name__ == "__main__":
    main()
