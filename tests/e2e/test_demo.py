"""The demo model finds its concepts: counts and boxes in scenes that it was not trained on, through the program."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

import harness
from harness import HERE, run

ROOT = HERE.parents[1]
SCENES = json.loads((HERE / "scenes" / "scenes.json").read_text())
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "models" / "demo"))
import concepts  # noqa: E402

# What the checkpoint reached when it was made, less a little for other processors' rounding (models/demo/README.md).
PRECISION, RECALL, COUNTED, ABSENT = 0.86, 0.83, 0.68, 0.95


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0, width) * max(0, height)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def matched(found, wanted):
    """How many of the wanted boxes have a found one of their own."""
    left = list(wanted)
    for box in found:
        best = max(left, key=lambda other: iou(box, other), default=None)
        if best and iou(box, best) >= 0.5:
            left.remove(best)
    return len(wanted) - len(left)


class Demo(unittest.TestCase):
    def test_scenes(self):
        hits = found = wanted = counted = present = absent = none = 0
        for scene in SCENES:
            with tempfile.NamedTemporaryFile("w", suffix=".json") as prompts:
                json.dump([{"text": p["text"]} for p in scene["prompts"]], prompts)
                prompts.flush()
                done = run("segment", HERE / "scenes" / scene["image"], "--prompts", prompts.name, "--json", "-")
            self.assertEqual(done.returncode, 0, done.stderr)
            for prompt, result in zip(scene["prompts"], json.loads(done.stdout)["results"], strict=True):
                boxes = [d["box"] for d in result["detections"]]
                if prompt["boxes"]:
                    hits, found = hits + matched(boxes, prompt["boxes"]), found + len(boxes)
                    wanted, present = wanted + len(prompt["boxes"]), present + 1
                    counted += len(boxes) == len(prompt["boxes"])
                else:
                    absent, none = absent + 1, none + (not boxes)
        said = f"precision {hits}/{found}, recall {hits}/{wanted}, counts {counted}/{present}, absent {none}/{absent}"
        print(said, file=sys.stderr)
        self.assertGreater(hits / max(1, found), PRECISION, said)
        self.assertGreater(hits / wanted, RECALL, said)
        self.assertGreater(counted / present, COUNTED, said)
        self.assertGreater(none / absent, ABSENT, said)

    def test_says_that_it_is_the_demo_and_what_it_knows(self):
        done = run("info")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"demo model", done.stderr)
        self.assertIn(b"-m MODEL", done.stderr)
        listed = done.stdout.decode()
        for name in (*concepts.NAMES, *concepts.PALETTE):
            self.assertIn(name, listed)
        file = ROOT / "models" / "demo" / "vocabulary.json"
        self.assertEqual(json.loads(file.read_text()), concepts.vocabulary())
        self.assertEqual(json.loads(run("info", "--json").stdout)["vocabulary"], concepts.vocabulary())

    def test_a_model_with_a_vocabulary_that_makes_no_sense(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
                (Path(folder) / name).symlink_to(ROOT / "models" / "demo" / name)
            for text in ("[", '{"concepts": {"dog": 3}}', '{"concepts": {"dog": []}, "colours": "red", "coloured": []}'):
                (Path(folder) / "vocabulary.json").write_text(text)
                done = run("info", "-m", folder)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertNotIn(b"knows", done.stdout)


if __name__ == "__main__":
    unittest.main()
