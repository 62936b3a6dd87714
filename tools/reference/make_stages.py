#!/usr/bin/env python3
"""Makes tests/model/fixtures: what the network has to compute after every stage, for each small preset.

  make_stages.py OUT_DIR PHOTOGRAPH        tests/model/README.md describes the files
"""
import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import make_model
import presets
import tensors
from network import Network

# Of cedar, whose stages have few values: one with which none of them is close to zero.
SEEDS = {"ash": 1, "birch": 1, "cedar": 14, "dogwood": 1, "elm": 3}
SIZE = (640, 480)  # of the original image, in whose pixels boxes are
BOXES = [{"box": [50.5, 318.25, 187.75, 386.5], "label": 1}, {"box": [281.25, 315.5, 398.5, 369.125], "label": 0},
         {"box": [379.625, 376.75, 578.5, 470.25], "label": 1}]
CASES = {
    "text": {"text": "red car"},
    "boxes": {"text": "a house!? it's beige", "boxes": BOXES},  # "!" inside a word is id 0: a masked token
    "visual": {"text": None, "boxes": [{"box": [-3.5, 140.75, 219.25, 300.5], "label": 1}]},
}
IMAGE_STAGES = ("patches", "vit.", "neck.")  # the same for all cases: kept with the first
MOST = 2600  # values kept of a stage, about


def steps(rows, cols):
    """Every how many rows and columns are kept: about as many as MOST allows; prime to the number of rows, so that those
    kept do not all lie in the same columns of the image."""
    def step(n, at_most):
        s = -(-n // at_most)
        while math.gcd(s, n) > 1:
            s += 1
        return s
    col_step = step(cols, 256)
    return step(rows, max(1, MOST // -(-cols // col_step))), col_step


def write_case(folder, case, prompt, size, answer, stages):
    lines = ["sam3-stages 1", f"image {size} input.rgb", f"original {SIZE[0]} {SIZE[1]}",
             "tokens " + " ".join(map(str, [len(answer["tokens"]), *answer["tokens"]]))]
    for b in prompt.get("boxes") or []:
        lines.append(f"box {b['label']} " + " ".join(map(str, b["box"])))
    data = b""
    for name, value in stages.items():
        rows, cols = value.shape
        row_step, col_step = steps(rows, cols)
        kept = np.ascontiguousarray(value[::row_step, ::col_step], "<f4")
        assert np.isfinite(kept).all(), name
        lines.append(f"stage {name} {rows} {cols} {row_step} {col_step} {np.abs(value).max():.9g}")
        data += kept.tobytes()
    (folder / (case + ".f32")).write_bytes(data)
    (folder / (case + ".txt")).write_text("\n".join(lines) + f"\nvalues {len(data) // 4} {case}.f32\n")
    return len(data)


def main(out, photograph):
    total = 0
    for preset, seed in SEEDS.items():
        folder = Path(out) / preset
        folder.mkdir(parents=True, exist_ok=True)
        cfg, model = presets.config(preset), Path(out) / "model"
        make_model.make(model, cfg, seed)
        network = Network(model)
        side = network.image_size
        pixels = np.asarray(Image.open(photograph).convert("RGB").resize((side, side), Image.BICUBIC))
        (folder / "input.rgb").write_bytes(pixels.tobytes())
        for i, (case, prompt) in enumerate(CASES.items()):
            stages = {}

            def probe(name, value):
                if i == 0 or not name.startswith(IMAGE_STAGES):
                    stages[name] = value.numpy().copy()

            answer = network.segment(network.encode(pixels, probe), prompt, *SIZE, probe)
            total += write_case(folder, case, prompt, side, answer, stages)
            print(preset, case, f"presence {answer['presence']:.3f} scores",
                  np.round(np.percentile(answer["scores"], [0, 50, 100]), 3))
        (folder / "model.json").write_text(json.dumps(
            {"preset": preset, "seed": seed, "sha256": make_model.digest(tensors.shapes(cfg), seed)}) + "\n")
        (folder / "config.json").write_text(json.dumps(cfg, indent=1) + "\n")
        for file in model.iterdir():
            file.unlink()
        model.rmdir()
    print(total, "bytes of values")


if __name__ == "__main__":
    main(*sys.argv[1:])
