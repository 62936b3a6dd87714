#!/usr/bin/env python3
"""Makes tests/e2e/expected.json: what Meta's code answers in each end-to-end case.

  make_e2e.py tests/e2e/images tests/e2e/expected.json
"""
import json
import sys
import tempfile
from pathlib import Path

import expect
import make_model
import presets
from network import Network

# name: preset, seed, stored dtype. Seeds were chosen for scores and masks that are spread.
MODELS = {
    "ash": ("ash", 16, "f32"), "birch": ("birch", 15, "f32"), "cedar": ("cedar", 12, "f32"),
    "dogwood": ("dogwood", 16, "f32"), "elm": ("elm", 3, "f32"), "fir": ("fir", 4, "f32"),
    "ash-bf16": ("ash", 16, "bf16"), "birch-f16": ("birch", 15, "f16"),
}


def text(*texts):
    return [{"text": t, "boxes": []} for t in texts]


def boxes(phrase, *signed):
    return [{"text": phrase, "boxes": [{"box": list(b[1:]), "label": b[0]} for b in signed]}]


RED = (1, 25.25, 159.125, 93.875, 193.25)
BLUE = (0, 140.625, 157.75, 199.25, 184.5625)
YELLOW = (1, 189.8125, 188.375, 289.25, 235.125)
MANY = [(int(i % 3 != 1), 6.25 + 23 * i, 15.875 + 16.5 * i, 40.125 + 23.75 * i, 38.75 + 16 * i) for i in range(12)]
LARGE = [(b[0], *(2 * v for v in b[1:])) for b in (RED, BLUE, YELLOW)]
LONG = "a small red car on a grey road in front of a house with a red roof and many windows next to a green tree " * 3
SAMPLE = text("red car") + boxes("house", RED, BLUE) + boxes(None, YELLOW)

# name: model, image, prompts
CASES = {
    "text": ("elm", "street.jpg", text("red car")),
    "several": ("elm", "small.jpg", text("red car", "tree", "a house with windows", "tree")),
    "positive": ("elm", "small.jpg", boxes("car", RED)),
    "negative": ("elm", "street.jpg", boxes("car", *LARGE)),
    "only-negative": ("elm", "small.jpg", boxes("car", BLUE)),
    "visual": ("elm", "small.jpg", boxes(None, RED)),
    "outside": ("elm", "small.jpg", boxes(None, (1, -10.25, 125.125, 109.625, 245.75))),
    "speck": ("elm", "small.jpg", boxes("wheel", (1, 73.625, 180.75, 74.25, 181.125))),
    "many-boxes": ("elm", "small.jpg", boxes("thing", *MANY)),
    "mixed": ("elm", "small.jpg", text("sky") + boxes("car", RED, BLUE) + boxes(None, YELLOW) + text("")),
    "empty": ("elm", "small.jpg", text("")),
    "long": ("elm", "small.jpg", text(LONG)),
    "unicode": ("elm", "small.jpg", text("ein großes AUTO", "красная машина", "赤い車", "\U0001F697", "naïve  café")),
    "punctuation": ("elm", "small.jpg", text("what!? it's 2 cars...", "!", "don't &amp; won't", "ΟΔΟΣ")),
    "ash": ("ash", "small.jpg", SAMPLE),
    "birch": ("birch", "small.jpg", SAMPLE),
    "cedar": ("cedar", "small.jpg", SAMPLE),
    "dogwood": ("dogwood", "small.jpg", SAMPLE + text(LONG)),
    "fir": ("fir", "small.jpg", SAMPLE),
    "grey": ("ash", "grey.jpg", text("tree")),
    "exif": ("ash", "exif.jpg", boxes("tree", (1, 20.25, 30.5, 90.75, 100.25))),
    "alpha": ("ash", "alpha.png", text("tree")),
    "palette": ("ash", "palette.png", text("tree")),
    "deep": ("ash", "deep.png", text("tree")),
    "deep-grey": ("birch", "deep-grey.png", text("tree")),
    "webp": ("ash", "lossy.webp", text("tree")),
    "tiny": ("dogwood", "tiny.png", boxes("car", (1, 2.25, 11.5, 7.75, 14.25))),
    # samples of the pooled image that lie on its edge but for rounding
    "edge": ("dogwood", "tiny.png", boxes("car", (1, 14.75, 9.5, 23.75, 18.5))),
    "pixel": ("cedar", "pixel.png", text("grass")),
    "large": ("birch", "large.jpg", text("car") + boxes(None, (1, 150.5, 560.25, 560.75, 760.5))),
    "stored-bf16": ("ash-bf16", "small.jpg", SAMPLE[:2]),
    "stored-f16": ("birch-f16", "small.jpg", SAMPLE[:2]),
}


def main(images, out):
    cases, networks = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, image, prompts) in CASES.items():
            if model not in networks:
                preset, seed, dtype = MODELS[model]
                make_model.make(Path(folder) / model, presets.config(preset), seed, dtype=dtype)
                networks[model] = Network(Path(folder) / model)
            doc = expect.expect(networks[model], Path(images) / image, prompts, None, True, 3)
            for r in doc["results"]:
                r["found"] = len(r.pop("detections"))  # these are the first of the queries
            cases.append({"name": name, "model": model, **doc})
            print(name, "gap", doc["gap"], "threshold", doc["threshold"],
                  [[q["score"] for q in r["queries"][:max(1, r["found"])]] for r in doc["results"]],
                  "found", [r["found"] for r in doc["results"]])
    models = {m: dict(zip(("preset", "seed", "dtype"), v)) for m, v in MODELS.items()}
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    Path(out).write_text(f'{{"models": {json.dumps(models)},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
