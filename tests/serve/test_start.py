#!/usr/bin/env python3
"""start-sam3.sh: what it says and does, with a program that is built already."""
import json
import os
import shutil
import socket
import subprocess
import time
import unittest
import urllib.request

import harness

TREE = harness.FOLDER / "tree"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


class Start(unittest.TestCase):
    def setUp(self):
        """A tree whose build has nothing to do, and a state directory of its own."""
        shutil.rmtree(TREE, ignore_errors=True)
        (TREE / "build/src/cli").mkdir(parents=True)
        (TREE / "build/build.ninja").touch()
        (TREE / "build/src/cli/sam3").symlink_to(shutil.which(harness.PROGRAM))
        shutil.copy(harness.ROOT / "start-sam3.sh", TREE)
        script(TREE / "tools/packages.sh", "exit 0\n")
        script(TREE / "bin/ninja", "echo ninja: no work to do.\n")
        self.port = free_port()
        self.settings = {"MODEL_PATH": str(harness.MODEL), "PORT": str(self.port), "LOG_FILE": str(TREE / "sam3.log"),
                         "XDG_STATE_HOME": str(TREE / "state"), "PATH": f"{TREE}/bin:{os.environ['PATH']}"}

    def tearDown(self):
        self.run_it("stop")

    def run_it(self, *arguments, code=None, says=(), **settings):
        done = subprocess.run([TREE / "start-sam3.sh", *map(str, arguments)], text=True, timeout=120, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
                              env=harness.environment(self.settings | settings))
        if code is not None:
            self.assertEqual(done.returncode, code, done.stdout)
        for text in says:
            self.assertIn(text, done.stdout)
        return done.stdout

    def get(self, path):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60).read()

    def test_a_life(self):
        self.run_it("status", code=3, says=["does not run"])
        self.run_it(code=0, says=["ready after", f"open http://localhost:{self.port}\n", f"log: {TREE}/sam3.log"])
        self.assertEqual(self.get("/readyz"), b"ready\n")
        first = self.run_it("status", code=0, says=["runs, process ", f"http://127.0.0.1:{self.port}", f"{TREE}/sam3.log"])
        self.run_it("start", code=0, says=["runs already, process"])
        self.assertEqual(self.run_it("status"), first)
        self.run_it("restart", code=0, says=["stopped", "ready after"])
        self.assertNotEqual(self.run_it("status", code=0), first)
        logs = subprocess.Popen([TREE / "start-sam3.sh", "logs"], stdout=subprocess.PIPE, env=harness.environment(self.settings))
        self.assertIn("event", json.loads(logs.stdout.readline()))
        logs.kill()
        logs.communicate()
        self.run_it("stop", code=0, says=["stopped"])
        self.run_it("status", code=3)
        with self.assertRaises(OSError):
            self.get("/healthz")
        self.run_it("stop", code=0, says=["does not run"])

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", self.port)):
            self.run_it(code=1, says=[f"port {self.port} is in use by process {os.getpid()}", "--port", "did not start"])
        self.run_it("status", code=3)

    def test_names_of_the_guide(self):
        for name in ("DEVICE_IDS", "NUM_WORKERS", "BATCH_SIZE_PER_GPU", "USE_DDP", "MASTER_PORT", "PORT", "HOST", "MODEL_PATH", "LOG_FILE"):
            with self.subTest(name=name):  # each arrives: it is complained of
                self.run_it(code=1, says=["/no/such", "did not start"], **{name: "/no/such"})
        self.run_it(code=0, says=["ready"], DEVICE_IDS="[0,1]", USE_DDP="false")
        devices = json.loads(self.get("/v1/devices"))
        self.assertEqual((devices["parallel"], [w["device"] for w in devices["workers"]]), ("threads", ["cpu:0", "cpu:1"]))

    def test_settings_file_and_flags(self):
        self.run_it(code=1, says=["CONFIG: /no/such cannot be read"], CONFIG="/no/such")
        (TREE / "sam3.yaml").write_text("device_ids: [cpu:1]\nthreshold: 0.1\n")
        self.run_it("--api-keys", "k", code=0, CONFIG=str(TREE / "sam3.yaml"))
        with self.assertRaises(urllib.error.HTTPError):
            self.get("/v1/devices")
        self.run_it("stop")
        self.run_it("start", "--threshold", 2, code=1, says=["--threshold", "did not start"])
        self.run_it("frobnicate", code=1, says=["frobnicate", "status"])
        self.assertIn("MODEL_PATH", self.run_it("--help", code=0))

    def test_a_server_for_everybody_is_opened_as_localhost(self):
        self.run_it(code=0, says=[f"open http://localhost:{self.port}\n"], HOST="0.0.0.0")

    def test_a_build_that_fails(self):
        script(TREE / "bin/ninja", "echo '[1/2] cc'; sleep 0.5; exit 1\n")
        self.run_it(code=1, says=["building", "the build failed: see ", "build.log"])

    def test_progress_on_a_terminal(self):
        script(TREE / "bin/ninja", "case $3 in -n) ;; *) echo '[1/2] cc' ; sleep 0.7 ;; esac\n")
        master, terminal = os.openpty()
        done = subprocess.run([TREE / "start-sam3.sh"], stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, timeout=120,
                              env=harness.environment(self.settings))
        os.close(terminal)
        time.sleep(0.1)
        text = os.read(master, 100_000).decode()
        os.close(master)
        self.assertEqual(done.returncode, 0, text)
        self.assertIn("building [1/2]", text)
        self.assertIn("loading the model", text)


if __name__ == "__main__":
    unittest.main()
