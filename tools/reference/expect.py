#!/usr/bin/env python3
"""What Meta's code answers to prompts on an image: the JSON that `sam3 segment --json -` has to print.

  expect.py MODEL_DIR IMAGE --prompts FILE|JSON [--threshold 0.5|auto] [--all]

`auto` puts the threshold into the widest gap between scores. --all adds "queries" to each result: score and box of
every query, whatever the threshold, with the masks of detections, or of the best query when there is none. MODEL_DIR is any directory that make_model.py writes (plain or hub layout).
"""
import argparse
import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

import images
from network import Network, full_masks


LABEL = "visual"  # of detections of a prompt without text


def run_length(mask):
    r = coco.encode(np.asfortranarray(mask))
    return {"size": [int(n) for n in r["size"]], "counts": r["counts"].decode()}


def choose_threshold(scores, most=6):
    """(threshold, gap) with the threshold in the middle of the widest gap between neighbouring scores of all prompts
    that leaves at least one detection, and no prompt more than `most`."""
    edges = np.unique(np.clip(np.concatenate([[.05, .95], *scores]).astype(np.float64), .05, .95))
    best = (False, 0, .5)
    for low, high in zip(edges, edges[1:]):
        t = (low + high) / 2
        counts = [int((s > t).sum()) for s in scores]
        best = max(best, (0 < sum(counts) and max(counts) <= most, high - low, t))
    return round(best[2], 6), round(best[1], 6)


def expect(network, path, prompts, threshold=None, all_queries=False, most=6):
    """The document for one image; without a threshold it is chosen and stands, with its gap, in the document."""
    image = images.read(path)
    height, width = image.shape[:2]
    features = network.encode(image)
    answers = [network.segment(features, p, width, height) for p in prompts]
    doc = {"image": {"path": Path(path).name, "width": width, "height": height}}
    if threshold is None:
        threshold, doc["gap"] = choose_threshold([a["scores"] for a in answers], most)
    doc.update(threshold=threshold, results=[])
    for prompt, a in zip(prompts, answers):
        order = np.argsort(-a["scores"], kind="stable")
        found = int((a["scores"] > threshold).sum())
        top = order[:max(found, 1)].copy()
        masks = [run_length(m) for m in full_masks(a["masks"][top], width, height)]
        queries = [{"score": round(float(a["scores"][q]), 7), "box": [round(float(v), 4) for v in a["boxes"][q]]}
                   for q in order]
        label = LABEL if prompt.get("text") is None else prompt["text"]
        result = {"prompt": {"text": prompt.get("text"), "boxes": prompt.get("boxes") or []},
                  "presence": round(a["presence"], 7),
                  "detections": [{"id": i, "label": label, **queries[i], "area": int(coco.area(masks[i])),
                                  "mask": masks[i]} for i in range(found)]}
        if all_queries:
            result["queries"] = queries
            for query, mask in zip(queries, masks):
                query["mask"] = mask
        doc["results"].append(result)
    return doc


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("image")
    ap.add_argument("--prompts", required=True, help="a file, or the JSON itself")
    ap.add_argument("--threshold", default="0.5")
    ap.add_argument("--all", action="store_true")
    a = ap.parse_args()
    text = a.prompts if a.prompts.lstrip().startswith("[") else Path(a.prompts).read_text(encoding="utf-8")
    threshold = None if a.threshold == "auto" else float(a.threshold)
    doc = expect(Network(a.model), a.image, json.loads(text), threshold, a.all)
    print(json.dumps({"model": Path(a.model).name, **doc}, ensure_ascii=False))


if __name__ == "__main__":
    main()
