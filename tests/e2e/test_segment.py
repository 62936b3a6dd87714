#!/usr/bin/env python3
"""sam3 segment against Meta's code: an image file and prompts in, the contract's JSON out.

The expected answers (expected.json) are made by tools/reference/make_e2e.py; the models, whose weights are random, on
first use.
"""
import json
import unittest

from harness import (BOX, CASES, EXPECTED, IMAGES, IOU, SCORE, compare, decode_mask, documents, iou, model, pair,
                     prompt_flags, run)


class Answers(unittest.TestCase):
    """Every case in f32: the detections above a threshold, and the scores and boxes of all queries."""
    maxDiff = 2000

    def segment(self, case, path, *flags, prompts=None):
        image = IMAGES / case["image"]["path"]
        text = json.dumps(prompts or [r["prompt"] for r in case["results"]])
        done = run("segment", image, "-m", path, "--prompts", "-", *flags, input=text.encode(), stdin=None)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        (document,) = documents(done)
        return document

    def check(self, name):
        case = CASES[name]
        path = model(case["model"])
        document = self.segment(case, path, "-t", case["threshold"])
        compare(self, case, document, IMAGES / case["image"]["path"], path.name)

    def check_all_queries(self, name):
        case = CASES[name]
        document = self.segment(case, model(case["model"]), "-t", "0")
        for e, g in zip(case["results"], document["results"]):
            for want, got in pair(self, e["queries"], g["detections"], SCORE, BOX):
                if "mask" in want:
                    self.assertGreaterEqual(iou(decode_mask(want["mask"]), decode_mask(got["mask"])), IOU)


for _name in CASES:
    setattr(Answers, "test_" + _name.replace("-", "_"), lambda self, n=_name: self.check(n))
    setattr(Answers, "test_all_queries_" + _name.replace("-", "_"), lambda self, n=_name: self.check_all_queries(n))


class Program(unittest.TestCase):
    def answer(self, case, *arguments, path=None, name=None, **tolerance):
        """Runs a case with its prompts as flags and compares."""
        image = IMAGES / case["image"]["path"]
        path = path or model(case["model"])
        done = run("segment", image, "-m", path, "-t", case["threshold"],
                   *prompt_flags([r["prompt"] for r in case["results"]]), *arguments)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        (document,) = documents(done)
        compare(self, case, document, image, name or path.name, **tolerance)


class Flags(Program):
    """Prompts as flags; devices."""

    def test_prompts(self):
        for name in ("several", "negative", "visual", "only-negative", "unicode", "punctuation", "empty", "long"):
            with self.subTest(name):
                self.answer(CASES[name])

    def test_json_to_standard_output(self):
        self.answer(CASES["text"], "--json", "-")

    def test_cpu(self):
        self.answer(CASES["negative"], "-d", "cpu")

    def test_one_core(self):
        self.answer(CASES["negative"], "-d", "cpu:0")

    def test_ref(self):
        for name in ("grey", "exif", "tiny", "pixel", "text"):
            with self.subTest(name):
                self.answer(CASES[name], "-d", "ref")

    def test_dtype_f32(self):
        self.answer(CASES["negative"], "--dtype", "f32")


class Layouts(Program):
    """One model in every container: the same answer."""
    CASE = CASES["negative"]

    def test_hub(self):
        self.answer(self.CASE, path=model("elm", "hub"))

    def test_lone_safetensors(self):
        path = model("elm", "lone")
        self.answer(self.CASE, path=path, name=path.stem)

    def test_official(self):
        path = model("elm", "official")
        self.answer(self.CASE, path=path, name=path.stem)

    def test_official_in_a_directory(self):
        self.answer(self.CASE, path=model("elm", "official").parent)

    def test_official_by_torch(self):
        try:
            import torch  # noqa: F401
        except ImportError:
            self.skipTest("no torch")
        path = model("elm", "official", torch_save=True)
        self.answer(self.CASE, path=path, name=path.stem)

    def test_shards(self):
        self.answer(self.CASE, path=model("elm", shards=3))

    def test_hub_shards(self):
        self.answer(self.CASE, path=model("elm", "hub", shards=2))

    def test_bf16_stored(self):
        for layout in ("hub", "official", "lone"):
            with self.subTest(layout):
                path = model("ash-bf16", layout)
                self.answer(CASES["stored-bf16"], path=path, name=path.stem)


class HalfPrecision(Program):
    """bf16: the same detections as in f32. A random model's masks are ragged and its logits near zero everywhere, so
    that rounding moves many pixels: torch's bf16 gets an IoU of 0.93 to 0.99 on them."""

    def test_bf16_of_bf16_weights(self):
        self.answer(CASES["stored-bf16"], "--dtype", "bf16", score=5e-3, box=2, least_iou=.97)

    def test_bf16_of_f32_weights(self):
        for name in ("cedar", "text"):
            with self.subTest(name):
                case = CASES[name]
                prompts = json.dumps([r["prompt"] for r in case["results"]]).encode()
                image = IMAGES / case["image"]["path"]
                done = run("segment", image, "-m", model(case["model"]), "-t", "0", "--dtype", "bf16", "--prompts", "-",
                           input=prompts, stdin=None)
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                for e, g in zip(case["results"], documents(done)[0]["results"]):
                    for want in e["detections"]:
                        got = min(g["detections"], key=lambda d: max(abs(a - b) for a, b in zip(d["box"], want["box"])))
                        self.assertLessEqual(abs(got["score"] - want["score"]), .02)
                        self.assertGreaterEqual(iou(decode_mask(got["mask"]), decode_mask(want["mask"])), .95)


class Models(unittest.TestCase):
    def test_expected_cases_use_every_model(self):
        self.assertEqual({c["model"] for c in CASES.values()}, set(EXPECTED["models"]))


if __name__ == "__main__":
    unittest.main()
