#!/usr/bin/env python3
"""The program from outside: flags, messages, exit codes, files. test_program.py PROGRAM DIRECTORY EXAMPLE

Whether the answers are right is shown in tests/e2e; here the model is small and random.
"""
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

from program import BUILD, EXIF, META, MODEL, PROGRAM, ROOT, STREET, Case

EXAMPLE = pathlib.Path(sys.argv.pop(1)).resolve()


class Commands(Case):
    def test_help(self):
        commands = ["segment", "batch", "serve", "top", "info", "devices", "bench", "tokenize", "convert"]
        for arguments in (["--help"], ["-h"], ["help"]):
            text = self.check(0, *arguments).stdout
            for command in commands:
                self.assertIn(command, text)
        for command in commands:
            text = self.check(0, command, "--help").stdout
            self.assertIn(f"Usage: sam3 {command}", text)
            self.assertEqual(text, self.check(0, "help", command).stdout)
            self.assertIn("-h, --help", text)

    def test_version(self):
        version = self.check(0, "--version").stdout
        self.assertRegex(version, r"^sam3 \d+\.\d+\.\d+\n$")
        self.assertEqual(version, self.check(0, "version").stdout)

    def test_wrong_command(self):
        self.check(2, says="Usage:")
        self.check(2, "segmnt", says="did you mean 'segment'")
        self.check(2, "help", "devises", says="did you mean 'devices'")
        self.check(2, STREET, says="sam3 segment")
        self.assertNotIn("did you mean", self.check(2, "frobnicate-it").stderr)

    def test_every_command_refuses_unknown_flags(self):
        for command in ("segment", "batch", "serve", "top", "info", "devices", "bench", "tokenize", "convert"):
            self.check(2, command, "--frob", says="--frob")

    def test_man_page_and_completions_know_every_flag(self):
        for command in ("segment", "batch", "serve", "top", "info", "devices", "bench", "tokenize", "convert"):
            flags = set(re.findall(r"--[a-z][a-z-]+", self.check(0, command, "--help").stdout)) - {"--help"}
            for name, text in (("man page", (ROOT / "docs/man/sam3.1").read_text().replace("\\-", "-")),
                               *((p.name, p.read_text()) for p in sorted((ROOT / "data/completions").iterdir()))):
                for flag in flags:
                    spelled = f"-l {flag[2:]}" if name.endswith(".fish") else flag
                    self.assertIn(spelled, text, f"{command} {flag} is not in the {name}")


class Usage(Case):
    def test_wrong_usage(self):
        for arguments, says in (
                ([], "IMAGE"),
                ([STREET], "-p TEXT"),
                ([STREET, "-p"], "argument"),
                ([STREET, "-p", "a", "--box", "1,2,3"], "--box 1,2,3"),
                ([STREET, "-p", "a", "--box", "1,2,3,4,5"], "--box 1,2,3,4,5"),
                ([STREET, "-p", "a", "--box", "1,2,3,4 "], "--box"),
                ([STREET, "-p", "a", "--box", "nan,2,3,4"], "finite"),
                ([STREET, "-p", "a", "--not-box", "1,2,inf,4"], "--not-box 1,2,inf,4"),
                ([STREET, "-p", "a", "--box", "1,2,1e39,4"], "finite"),
                ([STREET, "-p", "a", "--box", "5,2,3,4"], "x0"),
                ([STREET, "-p", "a", "--box", "1,4,3,4"], "y0"),
                ([STREET, "-p", "a", "-t", "nan"], "--threshold nan"),
                ([STREET, "-p", "a", "-t", "1.01"], "--threshold 1.01"),
                ([STREET, "-p", "a", "-t", "-0.1"], "--threshold -0.1"),
                ([STREET, "-p", "a", "-t", ""], "--threshold"),
                ([STREET, "-p", "a", "-t", "0.5x"], "--threshold 0.5x"),
                ([STREET, "-p", "a", "--dtype", "f64"], "--dtype f64"),
                ([STREET, "-p", "a", "--format", "xml"], "--format xml"),
                ([STREET, "-p", "a", "--max-pixels", "-1"], "--max-pixels -1"),
                ([STREET, "-p", "a", "--max-pixels", "0"], "--max-pixels 0"),
                ([STREET, "-p", "a", "--overlay", "x.bmp"], "--overlay x.bmp"),
                (["-", "-", "-p", "a"], "standard input"),
                (["-", "--prompts", "-"], "standard input"),
                ([STREET, "-p", "a", "--json", "-", "-o", "-"], "standard output")):
            with self.subTest(arguments):
                self.check(2, "segment", *arguments, says=says)
        self.check(2, "bench", "-n", "0", says="--runs 0")
        self.check(2, "bench", "-m", "x", "--random-weights", "y", says="--random-weights")
        self.check(2, "tokenize", says="TEXT")
        self.check(2, "convert", "in", says="OUT")
        self.check(2, "convert", "in", "out", "more", says="more")
        self.check(2, "info", "x", says="-m")
        self.check(2, "devices", "x")
        self.assertEqual(self.files(), [])

    def test_device(self):
        self.check(1, "info", "-d", "toaster", says="toaster")
        self.check(0, "info", "-d", "cpu:0")

    def test_model(self):
        self.check(1, "info", "-m", "not-there", says="not-there")
        if (ROOT / "models/demo/config.json").exists():
            self.check(0, "info", model=None, says="demo model")
        alone = self.cwd / "bin/sam3"  # away from the source tree, with the libraries it was built with
        alone.parent.mkdir()
        shutil.copy(PROGRAM, alone)
        result = subprocess.run([alone, "info"], capture_output=True, text=True,
                                env={"LD_LIBRARY_PATH": str(PROGRAM.parents[2])})
        if not pathlib.Path("/usr/local/share/sam3/demo").exists():
            self.assertEqual(result.returncode, 1)
            self.assertIn("-m MODEL", result.stderr)
            self.assertIn("$SAM3_MODEL", result.stderr)
        self.check(0, "info", says=f"$SAM3_MODEL: {MODEL}")

    def test_output_names(self):
        shutil.copy(STREET, self.cwd / "a.jpg")
        shutil.copy(STREET, self.cwd / "b.jpg")
        (self.cwd / "sub").mkdir()
        shutil.copy(STREET, self.cwd / "sub/a.jpg")
        for arguments, says in (
                (["a.jpg", "b.jpg", "--overlay", "o.png"], "{stem}"),
                (["a.jpg", "b.jpg", "--format", "yolo"], "{stem}"),
                (["a.jpg", "--overlay", "a.jpg"], "would overwrite the input"),
                (["a.jpg", "b.jpg", "--overlay", "./{stem}.jpg"], "would overwrite the input"),
                (["a.jpg", "sub/a.jpg", "--masks", "m"], "both go to"),
                (["a.jpg", "sub/a.jpg", "-o", "out/"], "both go to"),
                (["a.jpg", "--json", "x.json", "-o", "./x.json"], "both write")):
            with self.subTest(arguments):
                self.check(2, "segment", *arguments, "-p", "x", says=says)
        self.assertEqual(self.files(), ["a.jpg", "b.jpg", "sub/a.jpg"])


class Prompts(Case):
    def test_bad_files(self):
        for text, says in (
                ('[{"text": "a"', "line 1"),
                ("", "line 1"),
                ("{}", "list of prompts"),
                ("[]", "list of prompts"),
                ('["a"]', "p.json[0]"),
                ('[{"text": "a"}, {"text": 3}]', 'p.json[1]: "text"'),
                ('[{"text": null}]', "p.json[0]: neither"),
                ('[{"text": "a", "txt": "b"}]', 'unknown key "txt"'),
                ('[{"text": "a", "text": "b"}]', "duplicate"),
                ('[{"boxes": {}}]', '"boxes"'),
                ('[{"boxes": [[1,2,3,4]]}]', "boxes[0]"),
                ('[{"boxes": [{"box": [1,2,3,4]}, {"box": [1,2,3]}]}]', "boxes[1]"),
                ('[{"boxes": [{"box": [1,2,"3",4]}]}]', "four numbers"),
                ('[{"boxes": [{"box": [1,2,1e39,4]}]}]', "finite"),
                ('[{"boxes": [{"box": [3,2,1,4]}]}]', "x0"),
                ('[{"boxes": [{"box": [1,2,3,4], "label": 2}]}]', '"label"'),
                ('[{"boxes": [{"box": [1,2,3,4], "label": true}]}]', '"label"'),
                ('[{"boxes": [{"box": [1,2,3,4], "lable": 1}]}]', 'unknown key "lable"')):
            with self.subTest(text):
                (self.cwd / "p.json").write_text(text)
                self.check(1, "segment", STREET, "--prompts", "p.json", says=["p.json", says])
        self.check(1, "segment", STREET, "--prompts", "none.json", says="none.json")
        self.check(1, "segment", STREET, "--prompts", ".", says="Is a directory")
        self.check(1, "segment", STREET, "--prompts", "-", says="standard input: line 1")

    def test_flags_and_file_say_the_same(self):
        flags = self.check(0, "segment", STREET, "--box", "10,20,100,200", "-p", "dog", "--not-box", "1,2,30,40", "-p", "")
        (self.cwd / "p.json").write_text(json.dumps([
            {"text": None, "boxes": [{"box": [10, 20, 100, 200], "label": 1}]},
            {"text": "dog", "boxes": [{"box": [1, 2, 30, 40], "label": 0}]}, {"text": ""}]))
        file = self.check(0, "segment", STREET, "--prompts", "p.json")
        self.assertEqual(json.loads(flags.stdout), json.loads(file.stdout))
        prompts = [r["prompt"] for r in json.loads(file.stdout)["results"]]
        self.assertEqual([p["text"] for p in prompts], [None, "dog", ""])
        self.assertEqual(prompts[1]["boxes"], [{"box": [1, 2, 30, 40], "label": 0}])


class Outputs(Case):
    def test_json_goes_to_standard_output_alone(self):
        result = self.check(0, "segment", STREET, "-p", "dog", "-t", "0.5")
        document = json.loads(result.stdout)
        self.assertEqual(document["image"], {"path": str(STREET), "width": 640, "height": 480})
        self.assertNotIn("\x1b", result.stderr)
        self.assertEqual(self.check(0, "segment", STREET, "-p", "dog", "-t", "0.5", "-q").stderr, "")
        with open(STREET, "rb") as stream:
            piped = json.loads(self.check(0, "segment", "-", "-p", "dog", "-t", "0.5", stdin=stream).stdout)
        self.assertEqual(piped["results"], document["results"])

    def test_nothing_found_is_success(self):
        document = json.loads(self.check(0, "segment", STREET, "-p", "dog", "-t", "1").stdout)
        self.assertEqual(document["results"][0]["detections"], [])
        everything = json.loads(self.check(0, "segment", STREET, "-p", "dog", "-t", "0").stdout)
        self.assertEqual(len(everything["results"][0]["detections"]), 19)

    def test_all_kinds_at_once(self):
        self.check(0, "segment", STREET, "-p", "dog", "-p", "cat", "--json", "new/r.json", "--overlay", "o.png", "--masks",
                   "masks/deep", "--format", "labelme", "-o", "l.json")
        document = json.loads((self.cwd / "new/r.json").read_text())
        masks = [f"masks/deep/street-{p}-{d['id']}.png" for p, r in enumerate(document["results"])
                 for d in r["detections"]]
        self.assertEqual(self.files(), sorted(["new/r.json", "o.png", "l.json", *masks]))
        self.assertIn("shapes", json.loads((self.cwd / "l.json").read_text()))

    def test_several_images(self):
        result = self.check(1, "segment", STREET, "not-there.jpg", EXIF, "-p", "dog", says="not-there.jpg")
        paths = [json.loads(line)["image"]["path"] for line in result.stdout.splitlines()]
        self.assertEqual(paths, [str(STREET), str(EXIF)])
        self.check(0, "segment", STREET, EXIF, "-p", "dog", "--json", "all.jsonl")
        self.assertEqual((self.cwd / "all.jsonl").read_text(), result.stdout)
        self.check(0, "segment", STREET, EXIF, "-p", "dog", "-o", "each/", "--overlay", "{stem}/o.jpg")
        self.assertEqual(self.files(), ["all.jsonl", "each/exif.json", "each/street.json", "exif/o.jpg", "street/o.jpg"])
        self.assertEqual((self.cwd / "each/street.json").read_text(), result.stdout.splitlines(True)[0])

    def test_formats(self):
        self.check(0, "segment", STREET, EXIF, "-p", "dog", "-p", "cat", "--format", "yolo", "-o", "y/")
        for line in (self.cwd / "y/street.txt").read_text().splitlines():
            label, *numbers = line.split()
            self.assertIn(label, "01")
            self.assertTrue(len(numbers) >= 6 and len(numbers) % 2 == 0 and all(0 <= float(n) <= 1 for n in numbers))
        polygons = json.loads(self.check(0, "segment", STREET, "-p", "dog", "--format", "polygons").stdout)
        self.assertIn("polygons", polygons["results"][0]["detections"][0])

    def test_coco_is_one_dataset(self):
        arguments = ["segment", STREET, EXIF, "-p", "dog", "-p", "cat", "-q"]
        documents = [json.loads(line) for line in self.check(0, *arguments).stdout.splitlines()]
        dataset = json.loads(self.check(0, *arguments, "--format", "coco").stdout)
        self.assertEqual([(i["id"], i["file_name"]) for i in dataset["images"]], [(1, str(STREET)), (2, str(EXIF))])
        self.assertEqual([c["name"] for c in dataset["categories"]], ["dog", "cat"])
        expected = [(i, p, d["mask"]["counts"]) for i, document in enumerate(documents, 1)
                    for p, r in enumerate(document["results"], 1) for d in r["detections"]]
        self.assertTrue(expected)
        found = [(a["image_id"], a["category_id"], a["segmentation"]["counts"]) for a in dataset["annotations"]]
        self.assertEqual(found, expected)
        self.assertEqual([a["id"] for a in dataset["annotations"]], list(range(1, len(found) + 1)))

    def test_damaged_weights_are_no_empty_answer(self):
        """Numbers that are not finite, wherever they come from: an error that names the image, whatever the format."""
        data = (MODEL / "model.safetensors").read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        shutil.copytree(MODEL, self.cwd / "model")
        for name in ("detr_decoder.presence_head.layer3.bias", "dot_product_scoring.query_proj.bias",
                     "detr_decoder.box_head.layer3.bias", "mask_decoder.mask_embedder.layers.2.bias"):
            begin, end = header[name]["data_offsets"]
            nan = {"F32": b"\0\0\xc0\x7f", "BF16": b"\xc0\x7f", "F16": b"\0\x7e"}[header[name]["dtype"]]
            bad = data[:start + begin] + nan * ((end - begin) // len(nan)) + data[start + end:]
            (self.cwd / "model/model.safetensors").write_bytes(bad)
            for format in ("json", "yolo"):
                with self.subTest(name, format=format):
                    self.check(1, "segment", STREET, "-p", "a", "-t", "0", "-m", "model", "--format", format,
                               says=[STREET.name, "finite"])

    def test_limit_of_pixels(self):
        self.check(1, "segment", STREET, "-p", "a", "--max-pixels", "100", says="100")

    def test_full_disk_and_closed_pipe(self):
        for arguments in (["segment", STREET, "-p", "a"], ["info"], ["tokenize", "a"], ["devices"], ["--help"],
                          ["segment", "--help"], ["info", "--json"]):
            with self.subTest(arguments), open("/dev/full", "w") as full:
                self.check(1, *arguments, stdout=full, says="No space")
        self.check(1, "segment", STREET, "-p", "a", "--json", "/dev/full", says="/dev/full")
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as broken:
            self.check(1, "segment", STREET, "-p", "a", stdout=broken, says="Broken pipe")
        closed = self.run_program("tokenize", "a", stdout=None, preexec_fn=lambda: os.close(1))
        self.assertEqual(closed.returncode, 1)
        self.assertIn("standard output", closed.stderr)

    def test_a_failed_write_leaves_the_old_file(self):
        (self.cwd / "r.json").write_text("old")
        self.check(1, "segment", STREET, "-p", "a", "--json", "r.json/x", says="r.json")
        self.assertEqual((self.cwd / "r.json").read_text(), "old")
        link = self.cwd / "link.json"
        link.symlink_to("r.json")
        self.check(0, "segment", STREET, "-p", "a", "--json", "link.json")
        self.assertTrue(link.is_symlink())
        self.assertIn("results", json.loads((self.cwd / "r.json").read_text()))
        self.assertEqual(self.files(), ["link.json", "r.json"])

    def test_interrupt(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            environment = {**os.environ, "SAM3_MODEL": str(MODEL)}
            process = subprocess.Popen([PROGRAM, "segment", *[STREET] * 2000, "-p", "a", "--json", "r.json"], cwd=self.cwd,
                                       env=environment, stderr=subprocess.PIPE)
            process.stderr.readline()  # using the model
            process.stderr.readline()  # the first image is done
            process.send_signal(number)
            start = time.monotonic()
            process.stderr.close()
            self.assertEqual(process.wait(timeout=20), code)
            self.assertLess(time.monotonic() - start, 5)
            self.assertEqual(self.files(), [])

    def test_progress_on_a_terminal(self):
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            self.skipTest(str(error))
        result = self.run_program("segment", STREET, "-p", "a", "--json", "r.json", stderr=theirs)
        os.close(theirs)
        self.assertEqual(result.returncode, 0)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:
            pass
        os.close(ours)
        self.assertIn(b"street.jpg [", shown)
        self.assertIn(b"%", shown)
        self.assertEqual(result.stdout, "")


class Reports(Case):
    def test_tokenize(self):
        lines = self.check(0, "tokenize", "red car", "", model=None).stdout.splitlines()
        self.assertEqual([json.loads(line) for line in lines], [[49406, 736, 1615, 49407], [49406, 49407]])
        self.assertEqual(self.check(0, "tokenize", "-m", MODEL, "red car").stdout.strip(), lines[0])

    def test_info(self):
        text = self.check(0, "info").stdout
        for word in ("parameters", "activations", "vision.patch", "F32"):
            self.assertIn(word, text)
        report = json.loads(self.check(0, "info", "--json").stdout)
        self.assertGreater(report["memory"]["activations"], 0)
        self.assertEqual(report["config"]["vision"]["patch"], 14)
        self.assertGreater(sum(p["parameters"] for p in report["parts"]), 2e6)
        tensors = self.check(0, "info", "--tensors").stdout.splitlines()
        self.assertEqual(len(tensors), sum(d["tensors"] for d in report["dtypes"]))

    def test_devices(self):
        self.assertIn("kernels", self.check(0, "devices").stdout)
        devices = json.loads(self.check(0, "devices", "--json").stdout)["devices"]
        self.assertEqual(devices[0]["device"], "cpu")
        self.assertEqual(len(devices[0]["cores"]), len(os.sched_getaffinity(0)))

    def test_bench(self):
        text = self.check(0, "bench", "-n", "1").stdout
        self.assertIn("GFLOP/s", text)
        report = json.loads(self.check(0, "bench", "--random-weights", MODEL / "config.json", "--image", STREET, "-p", "dog",
                                       "-n", "2", "--json").stdout)
        self.assertEqual(len(report["runs"]), 2)
        self.assertTrue(all(s["ms"] >= 0 and s["gflop"] >= 0 for s in report["stages"]))
        self.assertGreater(report["memory"]["peak_resident"], 0)

    def test_convert(self):
        def answer(model):
            text = self.check(0, "segment", STREET, "-p", "dog", "--box", "9,9,90,90", "-t", "0", "-m", model).stdout
            return json.loads(text)["results"]

        self.check(0, "convert", META, "f32", "--dtype", "f32")
        shutil.copy(MODEL / "config.json", self.cwd)  # META's lies beside it; a directory brings its own
        self.assertEqual(answer("f32"), answer(MODEL))
        self.check(1, "convert", META, "f32", says="f32")
        self.check(0, "convert", MODEL, "bf16")
        self.assertLess((self.cwd / "bf16/model.safetensors").stat().st_size,
                        0.52 * (MODEL / "model.safetensors").stat().st_size)
        self.assertEqual(json.loads((self.cwd / "bf16/config.json").read_text())["dtype"], "bfloat16")
        exact, rounded = answer(MODEL)[0], answer("bf16")[0]
        self.assertAlmostEqual(exact["presence"], rounded["presence"], delta=0.05)
        self.check(0, "convert", "bf16", "again", "--dtype", "bf16")
        self.assertEqual((self.cwd / "again/model.safetensors").read_bytes(),
                         (self.cwd / "bf16/model.safetensors").read_bytes())
        self.check(1, "convert", "not-there", "x", says="not-there")
        self.check(1, "convert", MODEL, "no/such/dir", says="no/such/dir")
        self.assertFalse([f for f in self.files() if ".tmp" in f])

    def test_example(self):
        result = subprocess.run([EXAMPLE, MODEL, STREET, "dog", "cat"], cwd=self.cwd, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        documents = json.loads(self.check(0, "segment", STREET, "-p", "dog", "-p", "cat").stdout)["results"]
        expected = [f"{r['prompt']['text']} {d['score']:.3f}" for r in documents for d in r["detections"]]
        self.assertEqual([" ".join(line.split()[:2]) for line in result.stdout.splitlines()], expected)
        self.assertEqual(self.files(), ["overlay.png"])
        result = subprocess.run([EXAMPLE, MODEL, "no.jpg", "dog"], cwd=self.cwd, capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("no.jpg", result.stderr)


if __name__ == "__main__":
    unittest.main()
