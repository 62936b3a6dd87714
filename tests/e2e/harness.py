"""What the end-to-end tests share: models made on first use, the program, run lengths, comparison. Needs numpy.

Environment: SAM3_PROGRAM, the program; SAM3_TEST_DIR, where models are made and kept (default: a temporary folder).
"""
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "reference"))
import make_model  # noqa: E402
import presets  # noqa: E402

IMAGES = HERE / "images"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
CASES = {c["name"]: c for c in EXPECTED["cases"]}
for _result in (r for c in EXPECTED["cases"] for r in c["results"]):
    _result["detections"] = _result["queries"][:_result["found"]]

PROGRAM = os.environ.get("SAM3_PROGRAM", "sam3")
_temporary = None if os.environ.get("SAM3_TEST_DIR") else tempfile.TemporaryDirectory()
FOLDER = Path(_temporary.name if _temporary else os.environ["SAM3_TEST_DIR"]).resolve()

# A score, a box in pixels and a mask may be off by this much in f32.
SCORE, BOX, IOU = 1e-4, 0.05, 0.998


def model(name, layout="plain", dtype=None, **more):
    """The path of a model of expected.json; made on first use."""
    spec = EXPECTED["models"][name]
    dtype = dtype or spec["dtype"]
    folder = FOLDER / "-".join([name, layout, dtype, *(f"{k}{v}" for k, v in more.items())])
    out = folder / {"lone": "weights.safetensors", "official": "sam3.pt"}.get(layout, "model")
    done = folder / "done"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)       # another test may be making it
        if not done.exists():
            make_model.make(out, presets.config(spec["preset"]), spec["seed"], layout, dtype, **more)
            done.touch()
    return out


def run(*arguments, program=PROGRAM, **more):
    """The finished process; its output as bytes."""
    command = [program, *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAM3_")}
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command, capture_output=True, timeout=600, env=environment | more.pop("env", {}), **more)


def documents(done):
    """The JSON documents on standard output, one a line, and nothing else there."""
    lines = done.stdout.decode("utf-8").splitlines()
    return [json.loads(line, parse_constant=_refuse) for line in lines]


def _refuse(name):
    raise ValueError(f"{name} is not JSON")


def prompt_flags(prompts):
    """-p, --box and --not-box for prompts; a prompt without text can only be the first."""
    flags = []
    for i, p in enumerate(prompts):
        if p["text"] is not None:
            flags += ["-p", p["text"]]
        elif i:
            raise ValueError("a prompt without text behind another needs --prompts")
        for b in p["boxes"]:
            flags += ["--box" if b["label"] else "--not-box", ",".join(map(repr, b["box"]))]
    return flags


def decode_mask(mask):
    """bool [height, width] of COCO's compressed run lengths."""
    height, width = mask["size"]
    counts, i, text = [], 0, mask["counts"].encode("ascii")
    while i < len(text):
        value = shift = 0
        while True:
            c = text[i] - 48
            i += 1
            if not 0 <= c < 64:
                raise ValueError("not a run length")
            value |= (c & 31) << shift
            shift += 5
            if not c & 32:
                if c & 16:
                    value -= 1 << shift
                break
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    if min(counts) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths sum to {sum(counts)}, not {height} x {width}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def iou(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def pair(test, expected, got, score, box):
    """(expected, got) of two lists that must hold the same scores and boxes, each in its order but for ties."""
    test.assertEqual(len(got), len(expected), "number of detections")
    scores = [g["score"] for g in got]
    test.assertEqual(scores, sorted(scores, reverse=True), "not by falling score")
    free, pairs = list(got), []
    for e in expected:
        def distance(g):
            far = max(abs(x - y) for x, y in zip(e["box"], g["box"]))
            return far if abs(e["score"] - g["score"]) <= score else float("inf")
        best = min(free, key=distance)
        test.assertLessEqual(distance(best), box, f"no match for {e['score']} {e['box']}; nearest {best['score']} {best['box']}")
        free.remove(best)
        pairs.append((e, best))
    return pairs


def compare(test, case, document, path, name, score=SCORE, box=BOX, least_iou=IOU):
    """Fails the test unless the program's document answers the case."""
    test.assertEqual(set(document), {"model", "image", "results"})
    test.assertEqual(document["model"], name)
    test.assertEqual(document["image"], {**case["image"], "path": str(path)})
    test.assertEqual(len(document["results"]), len(case["results"]))
    size = [case["image"]["height"], case["image"]["width"]]
    for e, g in zip(case["results"], document["results"]):
        test.assertEqual(g["prompt"]["text"], e["prompt"]["text"])
        test.assertEqual(g["prompt"]["boxes"], e["prompt"]["boxes"])
        test.assertLessEqual(abs(g["presence"] - e["presence"]), score, "presence")
        test.assertEqual([d["id"] for d in g["detections"]], list(range(len(g["detections"]))))
        for want, got in pair(test, e["detections"], g["detections"], score, box):
            test.assertEqual(got["label"], e["prompt"]["text"] or "visual")
            test.assertEqual(got["mask"]["size"], size)
            mask = decode_mask(got["mask"])
            test.assertEqual(got["area"], int(mask.sum()))
            test.assertGreaterEqual(iou(mask, decode_mask(want["mask"])), least_iou, "mask")
