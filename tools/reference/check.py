#!/usr/bin/env python3
"""Checks this folder against transformers and torch: tensor lists, torch.save, roi_align, and the network with what
differs between Meta's code and transformers taken back. Prints what was compared; fails otherwise."""
import tempfile
from pathlib import Path

import numpy as np
import torch

import make_model
import official_names
import presets
import roi_align
import tensors
from network import Network, Sam3Config, Sam3Model


def check_shapes():
    for preset in presets.PRESETS:
        cfg = presets.config(preset)
        with torch.device("meta"):
            state = Sam3Model(Sam3Config(**cfg)).state_dict()
        assert {k: tuple(v.shape) for k, v in state.items()} == tensors.shapes(cfg), preset
    print("names and shapes of", ", ".join(presets.PRESETS))


def check_torch_save(folder):
    cfg = presets.config("cedar")
    for dtype in ("f32", "f16"):
        files = []
        for by_torch in (False, True):
            path = folder / f"{dtype}-{by_torch}.pt"
            make_model.make(path, cfg, 1, "official", dtype, torch_save=by_torch)
            files.append(torch.load(path, weights_only=True)["model"])
        ours, theirs = files
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[k], theirs[k]) and ours[k].dtype == theirs[k].dtype for k in ours)
        values = {n: tensors.values(n, s, 1) for n, s in tensors.shapes(cfg).items()}
        assert set(official_names.official_tensors(values)) < set(ours)
    print("torch.load reads sam3.pt as written here and by torch.save alike")


def check_roi_align():
    """Against its definition: the mean of bilinear samples, one by one."""
    random = np.random.RandomState(0)
    image = random.random_sample((2, 9, 11))

    def sample(y, x):
        if not (-1 <= y <= 9 and -1 <= x <= 11):
            return np.zeros(2)
        y, x = min(max(y, 0), 8), min(max(x, 0), 10)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, 8), min(x0 + 1, 10)
        top = image[:, y0, x0] * (1 - x + x0) + image[:, y0, x1] * (x - x0)
        low = image[:, y1, x0] * (1 - x + x0) + image[:, y1, x1] * (x - x0)
        return top * (1 - y + y0) + low * (y - y0)

    for box in ((1.3, 2.1, 8.7, 7.2), (-3.2, 4.4, 2.1, 10.9), (5.5, 5.5, 5.6, 5.9), (-9.1, -9.2, 20.3, 21.7)):
        x0, y0, x1, y1 = box
        w, h = max(x1 - x0, 1), max(y1 - y0, 1)
        want = np.zeros((2, 3, 3))
        for i in range(3):
            for j in range(3):
                ny, nx = int(np.ceil(h / 3)), int(np.ceil(w / 3))
                want[:, i, j] = sum(sample(y0 + h / 3 * (i + (a + .5) / ny), x0 + w / 3 * (j + (b + .5) / nx))
                                    for a in range(ny) for b in range(nx)) / (ny * nx)
        got = roi_align.roi_align(torch.from_numpy(image)[None], [torch.tensor([box], dtype=torch.float64)], 3)[0]
        assert np.allclose(got.numpy(), want, atol=1e-9), box
    print("roi_align")


def check_network(folder):
    """With a box, transformers' own forward differs in the padding's id, the LayerNorm eps and the last layer alone."""
    for preset in ("ash", "dogwood"):
        make_model.make(folder / preset, presets.config(preset), 2)
        network = Network(folder / preset)
        image = np.random.RandomState(1).randint(0, 256, (60, 80, 3)).astype(np.uint8)
        prompt = {"text": "car", "boxes": [{"box": [10, 12, 50, 40], "label": 1}]}
        ours = network.segment(network.encode(image), prompt, 80, 60)
        ids = torch.zeros(1, network.context, dtype=torch.long)
        ids[0, :len(ours["tokens"])] = torch.tensor(ours["tokens"])
        out = network.model(pixel_values=network.pixels(image), input_ids=ids, attention_mask=(ids != 0).long(),
                            input_boxes=torch.tensor([[[30 / 80, 26 / 60, 40 / 80, 28 / 60]]]),
                            input_boxes_labels=torch.tensor([[1]]))
        scores = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0].numpy()
        assert np.abs(scores - ours["scores"]).max() < 1e-5
        assert (out.pred_masks[0] - ours["masks"]).abs().max() < 1e-3
    print("the network's stages, joined, are Sam3Model.forward")


def main():
    check_shapes()
    check_roi_align()
    with tempfile.TemporaryDirectory() as folder:
        check_torch_save(Path(folder))
        check_network(Path(folder))


if __name__ == "__main__":
    main()
