"""Sizes of the models that tests use. No torch here: a preset becomes a config.json and nothing else.

The small ones differ from one another in every size; each stands for something that an implementation can get wrong:

  ash      windows that do not divide the grid (15 / 4), a position table that does not either (15 / 6)
  birch    patch 16, windows that do divide it, no tiling, a layer behind the last global one, 77 text positions
  cedar    one of everything: layer, head, query; channels that no vector register likes
  dogwood  patch 12, one window larger than the grid, text cut at 11 tokens, another rotary base
  elm      the head sizes of the published model (64 and 32), a 24 x 24 grid, 100 queries
  fir      no global layer, an image that is no multiple of the patch, a position table larger than the grid
  full     the published model: 3.4 GB in f32
"""

PRESETS = {
    "ash": dict(
        vision=dict(dim=48, mlp=136, layers=3, heads=3, image=210, patch=14, pretrain=84, window=4, glob=[2], theta=1e4),
        text=dict(dim=32, mlp=88, layers=2, heads=2, positions=32), dim=40, queries=19,
        geometry=dict(layers=1, heads=5, mlp=56, roi=5), fusion=dict(layers=2, heads=2, mlp=72),
        decoder=dict(layers=3, heads=4, mlp=104), mask_heads=8, projection=16),
    "birch": dict(
        vision=dict(dim=64, mlp=160, layers=6, heads=2, image=192, patch=16, pretrain=192, window=4, glob=[1, 4], theta=1e4),
        text=dict(dim=40, mlp=120, layers=3, heads=5, positions=77), dim=32, queries=30,
        geometry=dict(layers=2, heads=4, mlp=80, roi=7), fusion=dict(layers=3, heads=8, mlp=48),
        decoder=dict(layers=2, heads=2, mlp=136), mask_heads=4, projection=24),
    "cedar": dict(
        vision=dict(dim=24, mlp=40, layers=1, heads=1, image=88, patch=8, pretrain=40, window=3, glob=[0], theta=1e4),
        text=dict(dim=16, mlp=24, layers=1, heads=1, positions=32), dim=16, queries=1,
        geometry=dict(layers=1, heads=1, mlp=8, roi=1), fusion=dict(layers=1, heads=1, mlp=20),
        decoder=dict(layers=1, heads=1, mlp=12), mask_heads=1, projection=8),
    "dogwood": dict(
        vision=dict(dim=72, mlp=100, layers=4, heads=6, image=156, patch=12, pretrain=60, window=20, glob=[1, 3], theta=700.),
        text=dict(dim=56, mlp=64, layers=2, heads=7, positions=11), dim=72, queries=64,
        geometry=dict(layers=3, heads=9, mlp=112, roi=3), fusion=dict(layers=1, heads=6, mlp=128),
        decoder=dict(layers=4, heads=3, mlp=152), mask_heads=12, projection=40),
    "elm": dict(
        vision=dict(dim=128, mlp=384, layers=4, heads=2, image=336, patch=14, pretrain=112, window=8, glob=[1, 3], theta=1e4),
        text=dict(dim=64, mlp=256, layers=2, heads=1, positions=32), dim=64, queries=100,
        geometry=dict(layers=2, heads=2, mlp=192, roi=7), fusion=dict(layers=2, heads=2, mlp=256),
        decoder=dict(layers=3, heads=2, mlp=224), mask_heads=2, projection=48),
    "fir": dict(
        vision=dict(dim=36, mlp=52, layers=2, heads=3, image=100, patch=14, pretrain=130, window=3, glob=[], theta=1e4),
        text=dict(dim=20, mlp=28, layers=1, heads=4, positions=32), dim=24, queries=12,
        geometry=dict(layers=1, heads=3, mlp=20, roi=4), fusion=dict(layers=1, heads=6, mlp=28),
        decoder=dict(layers=2, heads=4, mlp=36), mask_heads=3, projection=8),
    "full": dict(
        vision=dict(dim=1024, mlp=4736, layers=32, heads=16, image=1008, patch=14, pretrain=336, window=24,
                    glob=[7, 15, 23, 31], theta=1e4),
        text=dict(dim=1024, mlp=4096, layers=24, heads=16, positions=32), dim=256, queries=200,
        geometry=dict(layers=3, heads=8, mlp=2048, roi=7), fusion=dict(layers=6, heads=8, mlp=2048),
        decoder=dict(layers=6, heads=8, mlp=2048), mask_heads=8, projection=512),
}


def config(preset):
    """The detector's config.json, as transformers spells it."""
    p = PRESETS[preset]
    v, t, dim = p["vision"], p["text"], p["dim"]
    grid = v["image"] // v["patch"]

    def stack(name, part, **more):
        return dict(model_type="sam3_" + name, hidden_size=dim, num_layers=part["layers"],
                    num_attention_heads=part["heads"], intermediate_size=part["mlp"], **more)

    return dict(
        architectures=["Sam3Model"], model_type="sam3",
        vision_config=dict(
            model_type="sam3_vision_model",
            backbone_config=dict(
                model_type="sam3_vit_model", hidden_size=v["dim"], intermediate_size=v["mlp"],
                num_hidden_layers=v["layers"], num_attention_heads=v["heads"], image_size=v["image"],
                patch_size=v["patch"], pretrain_image_size=v["pretrain"], window_size=v["window"],
                global_attn_indexes=v["glob"], layer_norm_eps=1e-6,
                rope_parameters=dict(rope_type="axial", rope_theta=v["theta"])),
            fpn_hidden_size=dim, backbone_feature_sizes=[[grid * s, grid * s] for s in (4, 2, 1)]),
        text_config=dict(
            model_type="clip_text_model", vocab_size=49408, hidden_size=t["dim"], intermediate_size=t["mlp"],
            projection_dim=p["projection"], num_hidden_layers=t["layers"], num_attention_heads=t["heads"],
            max_position_embeddings=t["positions"], hidden_act="gelu", bos_token_id=49406, eos_token_id=49407),
        geometry_encoder_config=stack("geometry_encoder", p["geometry"], roi_size=p["geometry"]["roi"]),
        detr_encoder_config=stack("detr_encoder", p["fusion"]),
        detr_decoder_config=stack("detr_decoder", p["decoder"], num_queries=p["queries"]),
        mask_decoder_config=dict(model_type="sam3_mask_decoder", hidden_size=dim,
                                 num_attention_heads=p["mask_heads"]))


def hub_config(cfg):
    """The same as facebook/sam3 has it on the hub: a video model's config around the detector's, older rope key."""
    detector = {**cfg, "vision_config": {**cfg["vision_config"]}}
    vit = dict(cfg["vision_config"]["backbone_config"])
    vit["rope_theta"] = vit.pop("rope_parameters")["rope_theta"]
    detector["vision_config"]["backbone_config"] = vit
    return dict(architectures=["Sam3VideoModel"], model_type="sam3_video", detector_config=detector,
                image_size=vit["image_size"], score_threshold_detection=0.5)
