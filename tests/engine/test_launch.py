#!/usr/bin/env python3
"""Engines whose workers a launcher has started. test_launch.py PROGRAM FIXTURES MODELS

The variables are set by hand, by the real torchrun where there is one, and on two "hosts" (network namespaces) where
this may make them.
"""
import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, FIXTURES, MODELS = (pathlib.Path(sys.argv.pop(1)).resolve() for _ in range(3))
KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")
PATIENCE = 200  # seconds for what takes one on an idle machine


def free_port():
    """A port whose lower neighbour, MASTER_PORT, is free as well."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            if a.getsockname()[1] == 65535:
                continue
            try:
                b.bind(("127.0.0.1", a.getsockname()[1] + 1))
            except OSError:
                continue
            return b.getsockname()[1]


def setUpModule():
    """What one process alone answers is what all others must."""
    Case.directory = tempfile.TemporaryDirectory(prefix="sam3-launch-")
    unittest.addModuleCleanup(Case.directory.cleanup)
    Case.model = Case.link("ash")
    alone = subprocess.run([PROGRAM, Case.model, "6", "cpu:0"], env=Case.environment(), capture_output=True, text=True,
                           timeout=PATIENCE)
    Case.wanted = {words[1]: words[3] for words in Case.lines(alone.stdout, "answer")}
    assert len(set(Case.wanted.values())) == 6, alone.stderr


class Case(unittest.TestCase):
    @classmethod
    def link(cls, name, directory=None):
        path = pathlib.Path(cls.directory.name, directory or name)
        path.mkdir()
        (path / "config.json").symlink_to(FIXTURES / name / "config.json")
        (path / "model.safetensors").symlink_to(MODELS / f"{name}.safetensors")
        return path

    @staticmethod
    def environment(**more):
        return {**{name: os.environ[name] for name in KEPT if name in os.environ}, **more}

    @staticmethod
    def lines(text, kind):
        return [line.split(" ", 3) for line in text.splitlines() if line.startswith(kind + " ")]

    def setUp(self):
        self.port = free_port()
        self.processes = []

    def tearDown(self):
        for process in self.processes:
            process.kill()
            process.communicate()

    def rank(self, rank, size=2, requests=6, devices=(), model=None, prefix=(), **more):
        local = {"SAM3_LAUNCHER": "env", "RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank,
                 "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.port - 1,
                 "SAM3_LAUNCH_SECONDS": 60, **more}
        process = subprocess.Popen([*prefix, PROGRAM, model or self.model, str(requests), *devices],
                                   env=self.environment(**{k: str(v) for k, v in local.items() if v is not None}),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def end(self, process, code=0, says=None, go=None):
        out, err = process.communicate(go, timeout=PATIENCE)
        self.assertEqual(process.returncode, code, out + err)
        if says is not None:
            self.assertIn(says, err)
        elif code == 0:
            self.assertEqual(err, "")
        return out

    def answers(self, out, count=6):
        """All are there, and as one process alone gives them."""
        found = {words[1]: words[3] for words in self.lines(out, "answer")}
        self.assertEqual(found, {name: self.wanted[name] for name in map(str, range(count))}, out)

    def until(self, process, begin):
        """The lines up to one that begins so."""
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line.startswith(begin):
                return seen
        self.fail(f"no line {begin!r}: {seen} {process.stderr.read()}")

    def wait_for_port(self):
        for _ in range(500):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.fail("nobody listens")


class Together(Case):
    def test_two_and_three(self):
        for size in (2, 3):
            with self.subTest(size):
                ranks = [self.rank(i, size) for i in reversed(range(size))]
                out = self.end(ranks.pop())
                self.answers(out)
                workers = [line.split() for line in out.splitlines() if line.startswith("worker ")][-size:]
                self.assertEqual(sum(int(w[5]) for w in workers), 6)
                self.assertTrue(all(int(w[5]) > 0 for w in workers), "each has done some")
                cores = len(os.sched_getaffinity(0))
                if cores >= size and sorted(os.sched_getaffinity(0)) == list(range(cores)):
                    first, last = cores // size, 2 * cores // size - 1
                    self.assertEqual(workers[1][2], f"cpu:{first}-{last}" if last > first else f"cpu:{first}")
                for rank in ranks:
                    self.assertEqual(self.end(rank), "")

    def test_devices_of_the_list(self):
        first, second = self.rank(0, devices=["cpu", "ref"]), self.rank(1, devices=["cpu", "ref"])
        out = self.end(first)
        self.assertIn("worker 1 ref idle", out)
        self.end(second)
        short = self.rank(1, devices=["cpu"])
        self.end(short, 1, "local rank 1 has no device")

    def test_mpirun_and_srun(self):
        ompi = [dict(OMPI_COMM_WORLD_RANK=i, OMPI_COMM_WORLD_SIZE=2, OMPI_COMM_WORLD_LOCAL_RANK=i,
                     OMPI_COMM_WORLD_LOCAL_SIZE=2, MASTER_ADDR=None) for i in range(2)]
        slurm = [dict(SLURM_PROCID=i, SLURM_NTASKS=2, SLURM_LOCALID=i, SLURM_NODEID=0, SLURM_STEP_TASKS_PER_NODE="2",
                      SLURM_JOB_ID=7, SLURM_STEP_ID=0, SLURM_LAUNCH_NODE_IPADDR="127.0.0.1", MASTER_ADDR=None)
                 for i in range(2)]
        none = dict(SAM3_LAUNCHER=None, RANK=None, WORLD_SIZE=None, LOCAL_RANK=None, LOCAL_WORLD_SIZE=None)
        for name, variables in (("mpirun", ompi), ("srun", slurm)):
            with self.subTest(name):
                first, second = (self.rank(i, **{**none, **variables[i]}) for i in range(2))
                self.answers(self.end(first))
                self.end(second)

    def test_not_started_by_a_launcher(self):
        """Variables that somebody has left set, and those of a batch script, start nothing."""
        self.answers(self.end(self.rank(0, SAM3_LAUNCHER=None, devices=["cpu"])))
        self.answers(self.end(self.rank(0, SAM3_LAUNCHER=None, RANK=None, WORLD_SIZE=None, SLURM_PROCID=0,
                                        SLURM_NTASKS=4, SLURM_JOB_ID=7, devices=["cpu"])))

    def test_variables_that_make_no_sense(self):
        for name, value, says in (("RANK", "one", "RANK is \"one\""), ("RANK", "2", "RANK is \"2\""),
                                  ("WORLD_SIZE", "0", "WORLD_SIZE is \"0\""), ("WORLD_SIZE", None, "WORLD_SIZE"),
                                  ("MASTER_PORT", "70000", "MASTER_PORT"), ("SAM3_SECRET", "x" * 128, "SAM3_SECRET"),
                                  ("SAM3_LAUNCH_SECONDS", "-1", "SAM3_LAUNCH_SECONDS")):
            with self.subTest(name, value=value):
                self.end(self.rank(0, **{name: value}), 1, says)
        self.end(self.rank(0, MASTER_ADDR=None, LOCAL_WORLD_SIZE=1), 1, "MASTER_ADDR is not set")


class Trouble(Case):
    def test_port_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.port))
            taken.listen()
            name = pathlib.Path("/proc/self/comm").read_text().strip()
            self.end(self.rank(0), 1, f"port {self.port}, where the ranks meet, is taken by process {os.getpid()} "
                                      f"({name}): set SAM3_MASTER_PORT")
            # Another port, of both.
            other = free_port()
            first, second = (self.rank(i, SAM3_MASTER_PORT=other) for i in range(2))
            self.answers(self.end(first))
            self.end(second)

    def test_a_worker_never_comes(self):
        ranks = [self.rank(i, 4, SAM3_LAUNCH_SECONDS=5) for i in (0, 2)]
        self.end(ranks[0], 1, f"2 of 4 ranks did not come to 127.0.0.1:{self.port} within 5 s (rank 1, 3)")
        self.end(ranks[1], 1, "rank 0 went away before all had met")

    def test_rank_0_is_not_there(self):
        begin = time.monotonic()
        self.end(self.rank(1, SAM3_LAUNCH_SECONDS=1), 1, f"did not find rank 0 within 1 s: 127.0.0.1:{self.port}: "
                                                         "Connection refused")
        self.assertLess(time.monotonic() - begin, 8)
        with socket.socket() as silent:  # takes connections and says nothing
            silent.bind(("127.0.0.1", self.port))
            silent.listen()
            self.end(self.rank(1, SAM3_LAUNCH_SECONDS=1), 1, "does not answer as rank 0 does")

    def test_secret_run_and_model(self):
        first = self.rank(0, SAM3_SECRET="right", TORCHELASTIC_RUN_ID="a")
        self.end(self.rank(1, SAM3_SECRET="wrong", TORCHELASTIC_RUN_ID="a"), 1, "its SAM3_SECRET is not the one")
        self.end(self.rank(1, TORCHELASTIC_RUN_ID="a"), 1, "its SAM3_SECRET is not the one")
        self.end(self.rank(1, SAM3_SECRET="right", TORCHELASTIC_RUN_ID="b", SAM3_LAUNCH_SECONDS=1), 1, "another run")
        self.end(self.rank(1, 3, SAM3_SECRET="right", TORCHELASTIC_RUN_ID="a"), 1, "rank 0 is one of 2 ranks")
        good = self.rank(1, SAM3_SECRET="right", TORCHELASTIC_RUN_ID="a")
        self.answers(self.end(first))
        self.end(good)
        ranks = self.rank(0), self.rank(1, model=self.link("birch", "other"))
        self.end(ranks[0], 1, "is not the one of rank 0")
        self.end(ranks[1], 1, "is not the one of rank 0")

    def test_garbage(self):
        """Strangers before the worker comes and while it works: they are let go, and nothing waits for them."""
        first = self.rank(0, LAUNCH_WAIT=1)
        self.wait_for_port()
        held = []

        def bother():
            for bytes_ in (b"", b"GET / HTTP/1.0\r\n\r\n", os.urandom(5000), b"sam3tcp\0", b"sam3tcp\0" + b"\xff" * 2000,
                           b"sam3tcp\0" + struct.pack(">II", 1, 0) + b"\0" * 32):
                s = socket.create_connection(("127.0.0.1", self.port))
                try:
                    s.sendall(bytes_)
                except OSError:
                    pass
                held.append(s)
            for _ in range(80):  # half-open ones, more than there are places
                held.append(socket.create_connection(("127.0.0.1", self.port)))
        bother()
        second = self.rank(1)
        self.until(first, "ready 2")
        bother()
        first.stdin.write("go\n")
        first.stdin.flush()
        self.answers(self.end(first))
        self.end(second)
        for s in held:
            s.close()

    def test_another_version(self):
        first = self.rank(0, SAM3_LAUNCH_SECONDS=2)
        self.wait_for_port()
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(struct.pack("8sII32s", b"sam3tcp", 1, 0, b"9.9.9"))
            answer = s.makefile("rb").read()
        self.assertEqual(answer[:8], b"sam3tcp\0")
        self.assertIn(b"its version differs", answer)
        self.end(first, 1, "its version differs")
        # The other way round: a rank 0 of another version.
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen()
            second = self.rank(1)
            s, _ = listener.accept()
            s.sendall(struct.pack("8sII32s", b"sam3tcp", 1, 0, b"9.9.9") + bytes(208))
            self.end(second, 1, "has another version: it is sam3 9.9.9")
            s.close()

    def test_worker_killed_and_back(self):
        """Its request is done by another; it is dead until it comes back under its rank."""
        first, second = self.rank(0, LAUNCH_WAIT=1, LAUNCH_PAUSE=300), self.rank(1)
        self.until(first, "ready 2")
        second.send_signal(signal.SIGSTOP)  # so that it dies with a request in hand
        first.stdin.write("go\n")
        first.stdin.flush()
        time.sleep(0.5)
        second.kill()
        self.end(second, -signal.SIGKILL)
        again = self.rank(1)
        out = self.end(first)
        self.answers(out)
        workers = [line.split() for line in out.splitlines() if line.startswith("worker 1 ")]
        self.assertEqual(workers[-1][3], "idle")
        self.assertEqual(workers[-1][6], "1", "has come back once")
        self.assertEqual(int(workers[-1][4]), again.pid)
        self.end(again)

    def test_worker_dead_for_good(self):
        first, second = self.rank(0, LAUNCH_WAIT=1), self.rank(1)
        self.until(first, "ready 2")
        second.kill()
        time.sleep(1)
        out = self.end(first, go="go\n")
        self.answers(out)
        self.assertRegex(out, r"worker 1 \S+ dead")

    def test_a_rank_that_is_there_already(self):
        first, second = self.rank(0, LAUNCH_WAIT=1), self.rank(1)
        self.until(first, "ready 2")
        self.end(self.rank(1, SAM3_LAUNCH_SECONDS=1), 1, "rank 1 is there already")
        self.answers(self.end(first, go="go\n"))
        self.end(second)

    def test_rank_0_killed(self):
        first, second = self.rank(0, LAUNCH_WAIT=1), self.rank(1)
        self.until(first, "ready 2")
        first.kill()
        self.end(second, 1, "rank 0 ended unexpectedly")


@unittest.skipUnless(importlib.util.find_spec("torch"), "torch, and with it torchrun, is not installed")
class Torchrun(Case):
    def test_torchrun(self):
        for size in (2, 3):
            with self.subTest(size):
                done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc_per_node",
                                       str(size), "--master_port", str(self.port - 1), PROGRAM, self.model, "6"], env=self.environment(),
                                      capture_output=True, text=True, timeout=PATIENCE)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(f"ready {size}", done.stdout)
                self.answers(done.stdout)


def may_make_hosts():
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"sam3-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    return made and subprocess.run(["ip", "netns", "delete", name]).returncode == 0


@unittest.skipUnless(may_make_hosts(), "two hosts need root, ip and network namespaces")
class Hosts(Case):
    def setUp(self):
        super().setUp()
        self.names = [f"sam3-{os.getpid()}-{i}" for i in range(2)]
        for name in self.names:
            self.ip("netns", "add", name)
            self.addCleanup(self.ip, "netns", "delete", name)
        self.ip("link", "add", "eth0", "netns", self.names[0], "type", "veth", "peer", "name", "eth0", "netns",
                self.names[1])
        for i, name in enumerate(self.names):
            self.ip("-n", name, "address", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self.ip("-n", name, "link", "set", device, "up")

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def on(self, host, rank, address="10.77.0.1", **more):
        # Another host name, too.
        prefix = ["ip", "netns", "exec", self.names[host], "unshare", "--uts", "sh", "-c",
                  f'hostname host{host}; exec "$@"', "sh"]
        return self.rank(rank, LOCAL_RANK=0, LOCAL_WORLD_SIZE=1, MASTER_ADDR=address, prefix=prefix, **more)

    def test_two_hosts(self):
        first, second = self.on(0, 0), self.on(1, 1)
        out = self.end(first)
        self.answers(out)
        self.assertIn("worker 1 cpu@host1 idle", out)
        self.end(second)

    def test_bound_to_the_address_alone(self):
        first = self.on(0, 0, SAM3_LAUNCH_SECONDS=2)
        time.sleep(1)
        listening = subprocess.run(["ip", "netns", "exec", self.names[0], "cat", "/proc/net/tcp"], capture_output=True,
                                   text=True).stdout
        self.assertIn(f"01004D0A:{self.port:04X}", listening)
        self.assertNotIn(f"00000000:{self.port:04X}", listening)
        self.end(first, 1, "1 of 2 ranks did not come")

    def test_unreachable(self):
        self.end(self.on(1, 1, "10.77.0.9", SAM3_LAUNCH_SECONDS=1), 1, "did not find rank 0 within")

    def test_cable_pulled(self):
        """The other host is gone without a word: its requests are done here, once that is known."""
        first, second = self.on(0, 0, LAUNCH_WAIT=1, LAUNCH_PAUSE=5), self.on(1, 1)
        self.until(first, "ready 2")
        self.ip("-n", self.names[1], "link", "set", "eth0", "down")
        out = self.end(first, go="go\n")
        self.answers(out)
        self.assertRegex(out, r"worker 1 \S+ dead")
        second.kill()


if __name__ == "__main__":
    unittest.main(verbosity=2)
