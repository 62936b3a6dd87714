#!/usr/bin/env python3
"""How the program behaves around its answers: exit codes, what goes where, what it says when something is wrong."""
import json
import os
import tempfile
import unittest
from pathlib import Path

from harness import CASES, IMAGES, compare, documents, model, run

STREET = IMAGES / "street.jpg"
TEXT = CASES["text"]


class Behaviour(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.model = model("cedar")

    def segment(self, *arguments, **more):
        return run("segment", "-m", self.model, *arguments, **more)

    def assertFails(self, done, code, *words):
        """The exit code, nothing on standard output, and a message that names what was wrong."""
        message = done.stderr.decode()
        self.assertEqual(done.returncode, code, message)
        self.assertEqual(done.stdout, b"")
        for word in words:
            self.assertIn(str(word), message)

    # ---- wrong usage: 2

    def test_no_arguments(self):
        self.assertEqual(run().returncode, 2)

    def test_unknown_command(self):
        self.assertFails(run("segmnt"), 2, "segmnt")

    def test_unknown_flag(self):
        self.assertFails(self.segment(STREET, "-p", "car", "--frobnicate"), 2, "frobnicate")

    def test_no_image(self):
        self.assertFails(self.segment("-p", "car"), 2)

    def test_no_prompt(self):
        self.assertFails(self.segment(STREET), 2)

    def test_bad_threshold(self):
        for value in ("1.5", "-0.1", "half", "nan", ""):
            with self.subTest(value):
                self.assertFails(self.segment(STREET, "-p", "car", "-t", value), 2)

    def test_bad_box(self):
        for value in ("1,2,3", "1,2,3,x", "30,10,20,40", "1,2,1,4", "nan,0,5,5", "0,0,5,5,6", ""):
            with self.subTest(value):
                self.assertFails(self.segment(STREET, "-p", "car", "--box", value), 2)

    def test_bad_dtype(self):
        self.assertFails(self.segment(STREET, "-p", "car", "--dtype", "f8"), 2, "f8")

    # ---- failed: 1

    def test_missing_image(self):
        self.assertFails(self.segment(self.folder / "none.jpg", "-p", "car"), 1, "none.jpg")

    def test_directory_as_image(self):
        self.assertFails(self.segment(self.folder, "-p", "car"), 1, self.folder.name)

    def test_text_as_image(self):
        path = self.folder / "notes.jpg"
        path.write_text("not an image\n" * 100)
        self.assertFails(self.segment(path, "-p", "car"), 1, "notes.jpg")

    def test_empty_image(self):
        path = self.folder / "empty.png"
        path.touch()
        self.assertFails(self.segment(path, "-p", "car"), 1, "empty.png")

    def test_half_an_image(self):
        for name in ("street.jpg", "palette.png", "lossy.webp"):
            with self.subTest(name):
                whole = (IMAGES / name).read_bytes()
                path = self.folder / name
                path.write_bytes(whole[:len(whole) // 2])
                self.assertFails(self.segment(path, "-p", "car"), 1, name)

    def test_too_many_pixels(self):
        self.assertFails(self.segment(STREET, "-p", "car", "--max-pixels", 1000), 1, "street.jpg")

    def test_missing_model(self):
        self.assertFails(run("segment", STREET, "-p", "car", "-m", self.folder / "none"), 1, "none")

    def test_empty_directory_as_model(self):
        self.assertFails(run("segment", STREET, "-p", "car", "-m", self.folder), 1, self.folder.name)

    def test_image_as_model(self):
        self.assertFails(run("segment", STREET, "-p", "car", "-m", STREET), 1, "street.jpg")

    def test_truncated_model(self):
        whole = (self.model / "model.safetensors").read_bytes()
        (self.folder / "config.json").write_bytes((self.model / "config.json").read_bytes())
        (self.folder / "model.safetensors").write_bytes(whole[:-4])
        self.assertFails(run("segment", STREET, "-p", "car", "-m", self.folder), 1, "model.safetensors")

    def test_model_of_another_size(self):
        config = json.loads((self.model / "config.json").read_text())
        config["detr_decoder_config"]["num_queries"] = 2
        (self.folder / "config.json").write_text(json.dumps(config))
        os.link(self.model / "model.safetensors", self.folder / "model.safetensors")
        self.assertFails(run("segment", STREET, "-p", "car", "-m", self.folder), 1, "quer")

    def test_unknown_device(self):
        self.assertIn(self.segment(STREET, "-p", "car", "-d", "tpu").returncode, (1, 2))

    def test_bad_prompt_file(self):
        for name, text in (("syntax", "[{]"), ("kind", "{}"), ("text", '[{"text": 3}]'),
                           ("box", '[{"text": "a", "boxes": [{"box": [1, 2, 3], "label": 1}]}]'),
                           ("label", '[{"text": "a", "boxes": [{"box": [1, 2, 3, 4], "label": 2}]}]'),
                           ("nothing", '[{"text": null, "boxes": []}]'), ("key", '[{"txt": "a"}]')):
            with self.subTest(name):
                path = self.folder / f"{name}.json"
                path.write_text(text)
                self.assertFails(self.segment(STREET, "--prompts", path), 1, f"{name}.json")

    def test_prompt_file_is_missing(self):
        self.assertFails(self.segment(STREET, "--prompts", self.folder / "none.json"), 1, "none.json")

    def test_output_cannot_be_written(self):
        (self.folder / "file").touch()
        self.assertFails(self.segment(STREET, "-p", "car", "--json", self.folder / "file" / "a.json"), 1, "a.json")

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = run_to(full, "segment", STREET, "-m", self.model, "-p", "car")
        self.assertEqual(done, 1)

    # ---- done: 0

    def test_nothing_found(self):
        done = self.segment(STREET, "-p", "car", "-t", "1")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        (document,) = documents(done)
        self.assertEqual(document["results"][0]["detections"], [])
        self.assertGreater(document["results"][0]["presence"], 0)

    def test_several_images(self):
        one, other = CASES["grey"], CASES["palette"]
        self.model = model("ash")
        paths = [IMAGES / c["image"]["path"] for c in (one, other)]
        low = min(one["threshold"], other["threshold"])
        done = self.segment(*paths, "-p", "tree", "-t", low)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        found = documents(done)
        self.assertEqual([d["image"]["path"] for d in found], [str(p) for p in paths])
        case = min(one, other, key=lambda c: c["threshold"])
        compare(self, case, found[(one, other).index(case)], IMAGES / case["image"]["path"], "model")

    def test_one_bad_image_among_good(self):
        bad = self.folder / "bad.png"
        bad.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
        done = self.segment(IMAGES / "tiny.png", bad, self.folder / "missing.jpg", IMAGES / "pixel.png", "-p", "car")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([Path(d["image"]["path"]).name for d in documents(done)], ["tiny.png", "pixel.png"])
        for name in ("bad.png", "missing.jpg"):
            self.assertIn(name, done.stderr.decode())

    def test_files_instead_of_standard_output(self):
        out, overlay, masks = self.folder / "a.json", self.folder / "a.png", self.folder / "masks"
        done = self.segment(STREET, "-p", "car", "-t", "0", "--json", out, "--overlay", overlay, "--masks", masks)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(done.stdout, b"")
        document = json.loads(out.read_text())
        self.assertEqual(len(document["results"][0]["detections"]), 1)
        self.assertTrue(overlay.read_bytes().startswith(b"\x89PNG"))
        self.assertEqual(len(list(masks.iterdir())), 1)

    def test_image_from_a_pipe(self):
        case = CASES["text"]
        self.model = model("elm")
        done = self.segment("-", "-p", "red car", "-t", case["threshold"], input=STREET.read_bytes(), stdin=None)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        (document,) = documents(done)
        compare(self, case, document, "-", "model")

    def test_model_from_the_environment(self):
        done = run("segment", STREET, "-p", "car", "-t", "1", env={"SAM3_MODEL": str(self.model)})
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        (document,) = documents(done)
        self.assertEqual(document["model"], "model")

    def test_a_file_whose_name_is_odd(self):
        path = self.folder / "ein Bild \"ä\\ü\" \u26f0.png"
        path.write_bytes((IMAGES / "tiny.png").read_bytes())
        done = self.segment(path, "-p", "say \"cheese\"\n", "-t", "1")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        (document,) = documents(done)
        self.assertEqual(document["image"]["path"], str(path))
        self.assertEqual(document["results"][0]["prompt"]["text"], "say \"cheese\"\n")

    def test_help_and_version(self):
        for arguments in (["--help"], ["--version"], ["segment", "--help"], ["help"], ["version"]):
            with self.subTest(arguments):
                done = run(*arguments)
                self.assertEqual(done.returncode, 0)
                self.assertTrue(done.stdout)
                self.assertEqual(done.stderr, b"")

    def test_tokenize(self):
        done = run("tokenize", "red car", "")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(documents(done), [[49406, 736, 1615, 49407], [49406, 49407]])


def run_to(stdout, *arguments):
    """Exit code with standard output going to an open file."""
    import subprocess

    from harness import PROGRAM
    return subprocess.run([PROGRAM, *map(str, arguments)], stdout=stdout, stderr=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    unittest.main()
