#!/usr/bin/env python3
"""Many images on several devices: sam3 segment -d A,B and sam3 batch. test_batch.py PROGRAM DIRECTORY"""
import json
import os
import pathlib
import pty
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from program import EXIF, IMAGES, STREET, Case

TWO = ["-d", "cpu:0,cpu:1"]
SMALL = IMAGES / "small.jpg"


def detections(lines):
    return [d for line in lines.splitlines() for result in json.loads(line)["results"] for d in result["detections"]]


class Segment(Case):
    def test_two_devices_say_the_same_as_one(self):
        arguments = ["segment", STREET, "gone.jpg", EXIF, SMALL, STREET, IMAGES / "lossy.webp", "-p", "dog", "-p", "cat"]
        one = self.check(1, *arguments, "-d", "cpu:0", says="gone.jpg")
        self.assertEqual(len(one.stdout.splitlines()), 5)
        for parallel in ("threads", "processes"):
            two = self.check(1, *arguments, *TWO, "--parallel", parallel, "--schedule", "replicate", says="gone.jpg")
            self.assertEqual(two.stdout, one.stdout)
            # What is left when one device is idle may be split over both: sums in another order.
            two = self.check(1, *arguments, *TWO, "--parallel", parallel, "--schedule", "auto", says="gone.jpg")
            for got, want in zip(detections(two.stdout), detections(one.stdout), strict=True):
                self.assertEqual(got["label"], want["label"])
                self.assertAlmostEqual(got["score"], want["score"], delta=1e-4)
                self.assertAlmostEqual(got["area"], want["area"], delta=2 + want["area"] / 1000)
        coco = [self.check(1, *arguments, *devices, "--format", "coco").stdout
                for devices in (["-d", "cpu:0"], [*TWO, "--schedule", "replicate"])]
        self.assertEqual(coco[0], coco[1])

    def test_wrong_devices(self):
        self.check(1, "segment", STREET, "-p", "a", "-d", "cpu:0,toaster", says="toaster")
        self.check(1, "segment", STREET, "-p", "a", "-d", "cpu:0,", says="unknown device")
        self.check(2, "segment", STREET, "-p", "a", "--parallel", "ropes", says="--parallel ropes")
        self.check(2, "segment", STREET, "-p", "a", "--schedule", "late", says="--schedule late")


    def test_no_worker_outlives_its_coordinator(self):
        """Not even one that is stopped, and who reads the output is not kept waiting."""
        process = self.start("segment", *[STREET] * 200, "-p", "dog", *TWO, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        workers = [int(w) for p in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children") for w in p.read_text().split()]
        self.assertEqual(len(workers), 2)
        for worker in workers:
            self.assertEqual(os.readlink(f"/proc/{worker}/fd/1"), "/dev/null")
            os.kill(worker, signal.SIGSTOP)
        process.kill()
        process.communicate(timeout=20)
        end = time.monotonic() + 20
        for worker in workers:
            while pathlib.Path(f"/proc/{worker}/cmdline").exists() and pathlib.Path(f"/proc/{worker}/cmdline").read_bytes():
                self.assertLess(time.monotonic(), end, "a worker is left")
                time.sleep(0.01)


class Batch(Case):
    def tree(self, *names, of=SMALL):
        for name in names:
            path = self.cwd / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(of, path)

    def out(self, folder="out"):
        root = self.cwd / folder
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != ".sam3-batch.db")

    def test_tree(self):
        self.tree("in/a.jpg", "in/sub/b.JPG", "in/sub/deep/c.jpg", "in/.hidden/x.jpg", "in/.x.jpg")
        (self.cwd / "in/notes.txt").write_text("no image")
        (self.cwd / "in/sub/bad.png").write_text("no image either")
        (self.cwd / "in/loop").symlink_to("..", target_is_directory=True)
        (self.cwd / "in/lost.jpg").symlink_to("nowhere")
        (self.cwd / "in/two\nlines.jpg").touch()
        arguments = ["batch", "in", "-p", "dog", "-o", "in/out", *TWO, "--schedule", "replicate"]
        result = self.check(1, *arguments, says=["3 images in", "3 of 6 images failed", "sub/bad.png", "not a JPEG",
                                                 "lost.jpg", "No such file", "\n  two?lines.jpg  "])
        (self.cwd / "in/two\nlines.jpg").unlink()
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.out("in/out"), ["a.json", "sub/b.json", "sub/deep/c.json"])
        alone = json.loads(self.check(0, "segment", "in/a.jpg", "-p", "dog", "-d", "cpu:0").stdout)
        for name, image in (("a.json", "a.jpg"), ("sub/deep/c.json", "sub/deep/c.jpg")):
            document = json.loads((self.cwd / "in/out" / name).read_text())
            self.assertEqual(document["image"]["path"], image)
            self.assertEqual(document["results"], alone["results"])

        self.check(1, *arguments, says=["3 of 5 images are done already", "bad.png"])  # and nothing else is tried
        (self.cwd / "in/sub/bad.png").unlink()
        self.tree("in/sub/bad.png", "in/new.jpg")
        (self.cwd / "in/lost.jpg").unlink()
        self.check(0, *arguments, says="2 images in")  # changed and new ones are done without being asked for
        self.assertEqual(self.out("in/out"), ["a.json", "new.json", "sub/b.json", "sub/bad.json", "sub/deep/c.json"])

    def test_retry_failed(self):
        self.tree("in/a.jpg", "in/b.jpg")
        self.check(1, "batch", "in", "-p", "dog", "-o", "out", "--max-pixels", "9", says="2 of 2 images failed")
        self.check(2, "batch", "in", "-p", "dog", "-o", "out", says="--max-pixels was 9")
        again = self.check(1, "batch", "in", "-p", "dog", "-o", "out", "--max-pixels", "9")
        self.assertNotIn("images/s", again.stderr)
        # A failure that was not the image's: it is tried again when asked for.
        with sqlite3.connect(self.cwd / "out/.sam3-batch.db") as journal:
            journal.execute("UPDATE setting SET value = 0 WHERE name = '--max-pixels'")
        journal.close()
        self.check(1, "batch", "in", "-p", "dog", "-o", "out", says="2 of 2 images failed")
        self.check(0, "batch", "in", "-p", "dog", "-o", "out", "--retry-failed", says="2 images in")
        self.assertEqual(self.out(), ["a.json", "b.json"])

    def test_all_kinds(self):
        self.tree("in/sub/b.jpg")
        self.tree("in/a.jpg", of=IMAGES / "pixel.png")
        arguments = ["batch", "in", "-p", "dog", "-o", "y", "--format", "yolo", "--overlay=jpg", "--masks", "-t", "0.5"]

        def expected():
            masks = [f"{n}-0-{i}.png" for n in ("a", "sub/b") for i in range(len(self.detections(f"in/{n}.jpg")))]
            return sorted(["a.txt", "a.overlay.jpg", "sub/b.txt", "sub/b.overlay.jpg", *masks])
        self.check(0, *arguments)
        first = expected()
        self.assertEqual(self.out("y"), first)
        self.tree("in/a.jpg")  # fewer detections: no mask of the old ones is left
        self.check(0, *arguments, says="1 images in")
        self.assertEqual(self.out("y"), expected())
        self.assertLess(len(expected()), len(first))

        # Killed between its files and the journal, and then the image changes.
        with sqlite3.connect(self.cwd / "y/.sam3-batch.db") as journal:
            journal.execute("UPDATE image SET state = 'waiting' WHERE name = 'a.jpg'")
        journal.close()
        (self.cwd / "y/a-0-99.png").touch()
        self.tree("in/a.jpg")
        self.check(0, *arguments, says="1 images in")
        self.assertEqual(self.out("y"), expected())

        self.check(2, "batch", "in", "-p", "dog", "-o", "in", "--masks", says="among the images")
        self.check(0, "batch", "in", "-p", "dog", "-o", "in", "--format", "labelme")
        self.assertEqual(json.loads((self.cwd / "in/sub/b.json").read_text())["imagePath"], "sub/b.jpg")

    def detections(self, image):
        document = json.loads(self.check(0, "segment", image, "-p", "dog", "-t", "0.5").stdout)
        return document["results"][0]["detections"]

    def test_coco(self):
        self.tree("in/a.jpg", "in/sub/b.jpg")
        self.tree("in/c.jpg", of=EXIF)
        (self.cwd / "in/bad.jpg").write_text("no image")
        self.check(1, "batch", "in", "-p", "dog", "-p", "cat", "-o", "out", "--format", "coco", *TWO)
        self.assertEqual(self.out(), ["coco.json"])
        images = ["a.jpg", "c.jpg", "sub/b.jpg"]
        expected = json.loads(self.check(0, "segment", *(f"in/{n}" for n in images), "-p", "dog", "-p", "cat", "--format",
                                         "coco", "-d", "cpu:0").stdout)
        for image, name in zip(expected["images"], images):
            image["file_name"] = name
        self.assertEqual(json.loads((self.cwd / "out/coco.json").read_text()), expected)

    def test_lists_and_patterns(self):
        self.tree("p/1/a.jpg", "p/1/b.png", "p/2/a.jpg", "q/d/c.jpg")
        self.check(0, "batch", "p/*/a.{jpg,png}", "-p", "x", "-o", "o1")
        self.assertEqual(self.out("o1"), ["1/a.json", "2/a.json"])
        (self.cwd / "list.txt").write_text("p/1/b.png\n\nq\r\np/1/gone.jpg\n")
        for inputs in (["@list.txt"], ["--list", "list.txt"], ["@-"]):
            shutil.rmtree(self.cwd / "o2", ignore_errors=True)
            with open(self.cwd / "list.txt") as stream:
                self.check(1, "batch", *inputs, "-p", "x", "-o", "o2", stdin=stream, says="p/1/gone.jpg")
            self.assertEqual(self.out("o2"), ["p/1/b.json", "q/d/c.json"])
        self.check(0, "batch", "p/1", "q", "p/1/a.jpg", "-p", "x", "-o", "o3")  # one of them twice
        self.assertEqual(self.out("o3"), ["p/1/a.json", "p/1/b.json", "q/d/c.json"])
        for arguments, code, says in ((["nowhere"], 1, "nowhere"), (["p/*.gif"], 1, "no file matches"),
                                      (["@none.txt"], 1, "none.txt"), ([], 2, "INPUT"), (["@-", "@-"], 2, "only once")):
            self.check(code, "batch", *arguments, "-p", "x", "-o", "o4", says=says)
        (self.cwd / "empty").mkdir()
        self.check(1, "batch", "empty", "-p", "x", "-o", "o5", says="no images")
        self.check(2, "batch", "p", "-p", "x", says="-o OUT")

    def test_names_that_collide(self):
        self.tree("in/a.jpg", "in/a.png")
        self.check(1, "batch", "in", "-p", "x", "-o", "out", says=["a.jpg", "a.png", "--keep-ending"])
        self.check(0, "batch", "in", "-p", "x", "-o", "out", "--keep-ending")
        self.assertEqual(self.out(), ["a.jpg.json", "a.png.json"])

    def test_settings_and_restart(self):
        self.tree("in/a.jpg", "other/a.jpg")
        (self.cwd / "prompts.json").write_text('[{"text": "dog"}]')
        self.check(1, "batch", "in", "-p", "dog", "-o", "out", "-d", "toaster", says="toaster")
        self.check(0, "batch", "in", "-p", "dog", "-o", "out")
        first = (self.cwd / "out/a.json").stat().st_mtime_ns
        self.check(0, "batch", "in/", "--prompts", "prompts.json", "-o", "out/", *TWO, says="1 of 1 images are done")
        for arguments, says in ((["in", "-p", "cat"], "prompts"), (["in", "-p", "dog", "-t", "0.4"], "--threshold was 0.5"),
                                (["other", "-p", "dog"], "folder of all inputs"),
                                (["in", "-p", "dog", "--format", "yolo"], "--format was json, now it is yolo")):
            self.check(2, "batch", *arguments, "-o", "out", says=[says, "--restart"])
        self.assertEqual((self.cwd / "out/a.json").stat().st_mtime_ns, first)
        self.check(0, "batch", "in", "-p", "cat", "-o", "out", "--restart", says="1 images in")
        self.assertEqual(json.loads((self.cwd / "out/a.json").read_text())["results"][0]["prompt"]["text"], "cat")
        (self.cwd / "out/.sam3-batch.db").write_text("not a data base, but long enough to be taken for one " * 9)
        self.check(1, "batch", "in", "-p", "cat", "-o", "out", says=".sam3-batch.db")

    def begin(self, *more, n=40):
        """A batch of n images that is not yet done."""
        self.tree(*(f"in/{i % 3}/{i:02}.jpg" for i in range(n)), of=STREET)
        arguments = ["batch", "in", "-p", "dog", "-o", "out", "--overlay", *TWO, *more]
        process = self.start(*arguments, stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        while len(self.results()) < 4:
            self.assertIsNone(process.poll(), "ended early")
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        return process, arguments

    def results(self):
        return [p for p in (self.cwd / "out").glob("?/*.json")]

    def test_killed_and_resumed(self):
        process, arguments = self.begin()
        process.kill()
        process.communicate(timeout=20)
        before = {p: p.stat().st_mtime_ns for p in self.results()}
        self.assertLess(len(before), 40)
        for path in before:
            self.assertEqual(json.loads(path.read_text())["image"]["width"], 640)
        resumed = self.check(0, *arguments, says=["of 40 images are done already", "40 of 40 images are done"])
        self.assertEqual(self.out(), sorted(f"{i % 3}/{i:02}{e}" for i in range(40) for e in (".json", ".overlay.png")))
        for path in self.results():
            self.assertEqual(json.loads(path.read_text())["image"]["path"], str(path.relative_to(self.cwd / "out"))[:-4] + "jpg")
        again = [p for p, time_ns in before.items() if p.stat().st_mtime_ns != time_ns]
        self.assertLessEqual(len(again), 3, "more than those in hand were done twice")  # moved, but not yet in the journal
        done = int(resumed.stderr.split(" of 40 images are done already")[0].split()[-1])
        self.assertIn(f"{40 - done} images in", resumed.stderr)
        self.assertGreaterEqual(done, len(before) - 3)
        self.assertEqual(sorted(p.name for p in (self.cwd / "out").iterdir()), [".sam3-batch.db", "0", "1", "2"])

    def test_interrupted_and_two_at_a_time(self):
        process, arguments = self.begin()
        self.check(1, *arguments, says="another sam3 batch works there")
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, stderr = process.communicate(timeout=20)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(process.returncode, 130, stderr)
        self.assertIn("the same command goes on", stderr)
        self.assertFalse((self.cwd / "out/.sam3-batch.unfinished").exists())
        self.check(0, *arguments, says="40 of 40 images are done")
        self.assertEqual(len(self.results()), 40)

    def test_results_that_cannot_be_written(self):
        self.tree("in/sub/a.jpg", "in/sub/b.jpg")
        self.check(0, "batch", "in", "-p", "x", "-o", "out")
        self.tree("in/new/c.jpg")
        (self.cwd / "out/new").write_text("a file where a folder should be")
        self.check(1, "batch", "in", "-p", "x", "-o", "out", says=["out/new", "2 of 3 images are done"])
        (self.cwd / "out/new").unlink()
        self.check(0, "batch", "in", "-p", "x", "-o", "out", says="3 of 3")

    def test_progress_on_a_terminal(self):
        self.tree("in/a.jpg", "in/b.jpg", "in/c.jpg")
        ours, theirs = pty.openpty()
        result = self.run_program("batch", "in", "-p", "a", "-o", "out", stderr=theirs)
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:
            pass
        os.close(ours)
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"/3 [", shown)
        self.assertIn(b"images/s", shown)
        self.assertIn(b"left", shown)


if __name__ == "__main__":
    unittest.main()
