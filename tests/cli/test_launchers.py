#!/usr/bin/env python3
"""The program under a launcher: by hand, and by the real torchrun and mpirun where there are such. test_launchers.py PROGRAM DIRECTORY

tests/engine/test_launch.py has the rest: what goes wrong, strangers, two hosts.
"""
import base64
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.request

from program import PROGRAM, STREET, Case

OPEN_MPI = shutil.which("mpirun") and b"Open MPI" in subprocess.run(["mpirun", "--version"], capture_output=True).stdout
CARS = ("-p", "car", "-t", "0.3")


def free_port():
    """A port whose lower neighbour, MASTER_PORT, is free as well."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            try:
                b.bind(("127.0.0.1", a.getsockname()[1] + 1))
            except (OSError, OverflowError):
                continue
            return b.getsockname()[1]


class Launched(Case):
    def setUp(self):
        super().setUp()
        self.port = free_port()

    def variables(self, rank, **more):
        local = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": self.port - 1, "SAM3_LAUNCH_SECONDS": 60, **more}
        return {name: str(value) for name, value in local.items() if value is not None}

    def rank(self, rank, *arguments, **more):
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], cwd=self.cwd, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**self.environment(), **self.variables(rank, **more)})
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def both(self, *arguments, code=0, **more):
        """Runs two ranks to their end; their (stdout, stderr)."""
        second, first = (self.rank(i, *arguments, **more) for i in (1, 0))
        ends = [process.communicate(timeout=200) for process in (first, second)]  # what rank 1 says fits into the pipe
        self.assertEqual([first.returncode, second.returncode], [code, code], ends)
        return ends

    def alone(self):
        return self.check(0, "segment", STREET, *CARS).stdout

    def test_segment(self):
        """One result, the same as without a launcher, and nothing from the other rank."""
        for given in (["--launcher", "env"], dict(SAM3_LAUNCHER="env"), dict(TORCHELASTIC_RUN_ID="x")):
            flags, more = (given, {}) if isinstance(given, list) else ([], given)
            with self.subTest(given):
                first, second = self.both("segment", STREET, *CARS, *flags, **more)
                self.assertEqual(first[0], self.alone())
                self.assertIn("rank 0 of 2", first[1])
                self.assertEqual(second, ("", ""))

    def test_not_launched(self):
        """Each process is for itself: asked to be, or not told beyond doubt."""
        wanted = self.alone()
        for flags, more in (([], {}), (["--launcher", "none"], dict(TORCHELASTIC_RUN_ID="x")),
                            ([], dict(TORCHELASTIC_RUN_ID="x", SAM3_LAUNCHER="none"))):
            process = self.rank(1, "segment", STREET, *CARS, *flags, **more)
            self.assertEqual(process.communicate(timeout=200)[0], wanted)

    def test_wrong_use(self):
        self.check(2, "segment", STREET, *CARS, "--launcher", "mpi", says="--launcher mpi: not one of auto, none, env")
        self.check(2, "segment", STREET, *CARS, "--launcher", "env", says="RANK is not set")
        self.check(2, "serve", "--launcher", "mpi", says="'mpi' is not one of auto, none, env")
        for first in self.both("segment", STREET, *CARS, code=2, SAM3_LAUNCHER="mpi"):
            self.assertIn("$SAM3_LAUNCHER mpi: not one of auto, none, env", first[1])
        for end in self.both("segment", STREET, *CARS, "--schedule", "split", code=1, SAM3_LAUNCHER="env"):
            self.assertIn("schedule split: a launcher's processes share no memory", end[1])
            self.assertEqual(end[0], "")

    def test_port_taken(self):
        with socket.create_server(("127.0.0.1", self.port)):
            for command in (["segment", STREET, *CARS], ["serve", "--port", "0"]):
                process = self.rank(0, *command, SAM3_LAUNCHER="env")
                out, err = process.communicate(timeout=200)
                self.assertEqual((process.returncode, out), (1, ""), err)
                self.assertRegex(err, rf"port {self.port}, .* is taken by process {os.getpid()} .*SAM3_MASTER_PORT.*MASTER_PORT")

    def test_batch(self):
        """The second time nothing is left to do, which the other rank has to learn."""
        for _ in range(2):
            first, second = self.both("batch", STREET, *CARS, "-o", "out", SAM3_LAUNCHER="env")
            self.assertIn("1 of 1 images are done", first[1])
            self.assertEqual(second, ("", ""))
        self.assertEqual(json.loads((self.cwd / "out" / "street.json").read_text())["results"],
                         json.loads(self.alone())["results"])

    def ask(self, address, path, body=None):
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def await_ready(self, first):
        """The server's address, when it works."""
        seen = ""
        for line in first.stderr:
            seen += line
            if "ready after" in line:
                return re.search(r"http://\S+", seen)[0]
        self.fail(seen)

    def test_serve(self):
        """Through both devices; the port is the setting's, and SIGTERM of rank 0 ends both."""
        more = {"SAM3_LAUNCHER": "env", "SAM3_LOG_FILE": "log", "MASTER_PORT": None}
        second = self.rank(1, "serve", SAM3_MASTER_PORT=self.port, **more)
        first = self.rank(0, "serve", "--port", 0, "--master-port", self.port, **more)
        address = self.await_ready(first)
        self.assertEqual(len(self.ask(address, "/v1/devices")["workers"]), 2)
        body = {"image": base64.b64encode(STREET.read_bytes()).decode(), "prompts": [{"text": "car"}], "threshold": 0.3}
        self.assertEqual([r["detections"] for r in self.ask(address, "/v1/segment", body)["results"]],
                         [r["detections"] for r in json.loads(self.alone())["results"]])
        first.send_signal(signal.SIGTERM)
        self.assertEqual([p.wait(100) for p in (first, second)], [0, 0], second.stderr.read())
        self.assertEqual((second.stdout.read(), second.stderr.read()), ("", ""))

    @unittest.skipUnless(importlib.util.find_spec("torch"), "torch, and with it torchrun, is not installed")
    def test_torchrun(self):
        done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc_per_node", "2",
                               "--master_port", str(self.port - 1), PROGRAM, "segment", str(STREET), *CARS],
                              cwd=self.cwd, env=self.environment(), capture_output=True, text=True, timeout=200)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, self.alone())
        self.assertIn("rank 0 of 2 (torchrun)", done.stderr)

    @unittest.skipUnless(importlib.util.find_spec("torch"), "torch, and with it torchrun, is not installed")
    def test_torchrun_restarts(self):
        """A rank is killed: torchrun starts all anew, they meet again, and the batch goes on."""
        images = [self.cwd / f"{i}.jpg" for i in range(60)]
        for image in images:
            image.symlink_to(STREET)
        arguments = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc_per_node", "2",
                     "--max-restarts", "2", "--master_port", str(self.port - 1), PROGRAM, "batch", *images, *CARS, "-o", "out"]
        process = subprocess.Popen(list(map(str, arguments)), cwd=self.cwd, env=self.environment(), text=True,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        end = time.monotonic() + 100
        while not list((self.cwd / "out").glob("*.json")):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        children = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
        ranks = [int(rank) for list_ in children for rank in list_.read_text().split()]
        os.kill(max(rank for rank in ranks if pathlib.Path(f"/proc/{rank}/exe").resolve() == PROGRAM), signal.SIGKILL)
        _, stderr = process.communicate(timeout=200)
        self.assertEqual(process.returncode, 0, stderr)
        self.assertEqual(stderr.count("rank 0 of 2 (torchrun)"), 2, stderr)
        self.assertIn("60 of 60 images are done", stderr)

    @unittest.skipUnless(OPEN_MPI, "Open MPI is not installed")
    def test_mpirun(self):
        done = subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "3", PROGRAM, "segment",
                               str(STREET), *CARS], cwd=self.cwd, capture_output=True, text=True, timeout=200,
                              env={**self.environment(), "MASTER_PORT": str(self.port - 1)})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, self.alone())
        self.assertIn("rank 0 of 3 (mpirun)", done.stderr)


if __name__ == "__main__":
    unittest.main()
