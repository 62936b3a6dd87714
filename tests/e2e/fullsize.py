#!/usr/bin/env python3
"""The published model's size with random weights: the program against the reference, and the time of both.

  SAM3_PROGRAM=build/src/cli/sam3 tests/e2e/fullsize.py [--folder DIR] [--image FILE]

Needs what tools/reference/requirements.txt lists, 4 GB of disk for the model (kept in DIR) and 8 GB of memory. Not part
of the default tests: the reference takes minutes.
"""
import argparse
import json
import time
import unittest
from pathlib import Path

import harness

PROMPTS = [{"text": "red car", "boxes": []},
           {"text": "house", "boxes": [{"box": [41.25, 148.5, 208.75, 296.25], "label": 1},
                                       {"box": [281.25, 315.5, 398.5, 369.125], "label": 0}]}]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--folder", type=Path, default=Path("build") / "fullsize")
    ap.add_argument("--image", type=Path, default=harness.IMAGES / "street.jpg")
    ap.add_argument("--preset", default="full", help=argparse.SUPPRESS)
    a = ap.parse_args()
    cfg = harness.presets.config(a.preset)
    model = a.folder / a.preset
    if not (model / "config.json").exists():
        print(f"making {model}")
        harness.make_model.make(model, cfg, seed=1)
    prompts = json.dumps(PROMPTS).encode()

    import expect  # torch and transformers
    network = expect.Network(model)
    started = time.perf_counter()
    case = expect.expect(network, a.image, PROMPTS, None, True)
    reference_seconds = time.perf_counter() - started
    del network

    test, largest = unittest.TestCase(), {}
    for threshold in (case["threshold"], 0):
        started = time.perf_counter()
        done = harness.run("segment", a.image, "-m", model, "-t", threshold, "--prompts", "-", input=prompts, stdin=None)
        seconds = time.perf_counter() - started
        test.assertEqual(done.returncode, 0, done.stderr.decode())
        (document,) = harness.documents(done)
        if threshold:
            program_seconds = seconds
            harness.compare(test, case, document, a.image, model.name)
            continue
        for e, g in zip(case["results"], document["results"]):
            for want, got in harness.pair(test, e["queries"], g["detections"], harness.SCORE, harness.BOX):
                note(largest, "score", abs(want["score"] - got["score"]))
                note(largest, "box", max(abs(x - y) for x, y in zip(want["box"], got["box"])))
                if "mask" in want:
                    note(largest, "1 - IoU", 1 - harness.iou(harness.decode_mask(want["mask"]),
                                                             harness.decode_mask(got["mask"])))
    found = [len(r["detections"]) for r in case["results"]]
    print(f"equal: {found} detections above {case['threshold']}, "
          f"{[len(r['queries']) for r in case['results']]} queries; largest differences: "
          + ", ".join(f"{k} {v:.1e}" for k, v in largest.items()))
    print(f"image and {len(PROMPTS)} prompts: the program {program_seconds:.1f} s (whole process), "
          f"the reference {reference_seconds:.1f} s (model loaded)")


def note(largest, what, value):
    largest[what] = max(largest.get(what, 0), value)


if __name__ == "__main__":
    main()
