#!/usr/bin/env python3
"""Clients that leave, come in numbers or too slowly; limits; start, settings, reload and end."""
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
import unittest

import harness
from harness import LARGE, LONG, SAMPLE, Server

DOG = [{"text": "dog"}]


def serve(*flags, env=None):
    """The finished process of a server that must not start."""
    return subprocess.run([harness.PROGRAM, "serve", *map(str, flags)], capture_output=True, text=True, timeout=60,
                          env=harness.environment(env or {}))


def multipart(server, image, prompts, threshold="0"):
    body, kind = harness.form({"image": image, "prompts": json.dumps(prompts), "threshold": threshold})
    return (f"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--queue-requests", 50, "--upload-seconds", 1)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0, cls.server.output()

    def settled(self):
        self.server.wait("nothing runs", lambda: (lambda s: s["queued"] + s["running"] == 0)(self.server.stats()))

    def test_a_client_that_leaves_cancels(self):
        self.settled()
        image = self.server.upload(LARGE, "image/png")
        before = self.server.stats()["cancelled"]
        jobs = [self.server.start_job(image, threshold=0) for _ in range(2)]  # one runs, the others wait
        with self.server.socket() as queued:
            body = json.dumps({"prompts": LONG, "threshold": 0}).encode()
            queued.sendall(f"POST /v1/images/{image}/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            self.server.wait("three jobs", lambda: (lambda s: s["queued"] + s["running"] == 3)(self.server.stats()))
        self.server.wait("the queued one is cancelled", lambda: self.server.stats()["cancelled"] == before + 1)
        for job in jobs:
            self.assertEqual(self.server.request("DELETE", "/v1/jobs/" + job).status, 204)
        self.settled()
        self.assertEqual(list(self.server.events(jobs[1]))[-1], ("cancelled", {}))
        with self.server.socket() as running:
            running.sendall(multipart(self.server, LARGE, LONG))
            self.server.wait("it runs", lambda: self.server.stats()["running"] == 1)
        self.server.wait("the running one is cancelled", lambda: self.server.stats()["running"] == 0)
        self.assertGreaterEqual(self.server.stats()["cancelled"], before + 3)
        self.assertIn(499, [r.get("status") for r in self.server.records()])

    def test_a_job_that_nobody_waits_for_is_not_begun(self):
        self.settled()
        before = self.server.stats()["accepted"]
        large = harness.png(4000, 3000, 7)  # it takes a while to decode
        with self.server.socket() as leaves:
            leaves.sendall(multipart(self.server, large, LONG).replace(b"Host:", b"Prefer: respond-async\r\nHost:", 1))
        self.server.wait("it is gone", lambda: 499 in [r.get("status") for r in self.server.records()[-3:]])
        time.sleep(0.5)
        self.assertEqual(self.server.stats()["accepted"], before)

    def test_events_in_order(self):
        self.settled()
        image = self.server.upload(LARGE, "image/png")
        first = self.server.start_job(image, threshold=0)
        second = self.server.start_job(image, LONG[:8], threshold=0)
        events = []
        for event in self.server.events(second):
            events.append(event)
            if event[0] == "queued" and len(events) == 1:
                self.assertEqual(self.server.request("GET", "/v1/jobs/" + second).json()["state"], "queued")
                self.server.request("DELETE", "/v1/jobs/" + first)
        names = [name for name, _ in events]
        rank = {"queued": 0, "encoding": 1, "decoding": 2, "done": 3}
        self.assertEqual(names, sorted(names, key=rank.get))
        self.assertEqual((names[0], names[-1], names.count("done")), ("queued", "done", 1))
        self.assertIn("decoding", names)
        fractions = [data["fraction"] for name, data in events if name == "decoding"]
        self.assertEqual(fractions, sorted(fractions))
        self.assertEqual(len(events[-1][1]["results"]), 8)

    def test_many_at_once(self):
        self.settled()
        answers, barrier = [], threading.Barrier(40)

        def ask():
            barrier.wait()
            answers.append(self.server.segment(DOG, threshold=0))
        threads = [threading.Thread(target=ask) for _ in range(40)]
        for t in threads:
            t.start()
        slowest = 0
        while any(t.is_alive() for t in threads):
            began = time.monotonic()
            self.assertEqual(self.server.request("GET", "/healthz").status, 200)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.01)
        self.assertEqual([a.status for a in answers], [200] * 40)
        self.assertEqual(len({a.body.split(b'"timing"')[0] for a in answers}), 1)
        self.assertLess(slowest, 5)

    def test_a_full_queue(self):
        self.settled()
        image = self.server.upload(LARGE, "image/png")
        jobs, refused = [], None
        for _ in range(60):
            job = self.server.start_job(image, threshold=0)
            if isinstance(job, str):
                jobs.append(job)
            else:
                refused = job
                break
        self.assertEqual((refused.status, refused.json()["type"]), (429, "/problems/queue-full"))
        self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
        self.assertGreaterEqual(len(jobs), 50)
        positions = [self.server.request("GET", "/v1/jobs/" + job).json().get("position") for job in jobs[1:]]
        waiting = [p for p in positions if p is not None]
        self.assertEqual(waiting, sorted(waiting))
        for job in jobs:
            self.server.request("DELETE", "/v1/jobs/" + job)
        self.settled()

    def test_half_a_body(self):
        with self.server.socket() as s:
            s.sendall(multipart(self.server, SAMPLE, DOG)[:-100])
            answer = b"".join(iter(lambda: s.recv(10000), b""))  # and then the connection ends
            self.assertIn(b" 408 ", answer)
            self.assertIn(b"/problems/timeout", answer)
        with self.server.socket() as s:  # drop by drop is no better
            began = time.monotonic()
            s.sendall(multipart(self.server, SAMPLE, DOG)[:300])
            with self.assertRaises(OSError):
                while time.monotonic() - began < 5:
                    s.sendall(b"x")
                    time.sleep(0.05)
        with self.server.socket() as s:
            s.sendall(multipart(self.server, SAMPLE, DOG)[:400])
        self.server.wait("no body is held", lambda: b"\nsam3_body_bytes 0\n" in self.server.request("GET", "/metrics").body)

    def test_slow_readers(self):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", self.server.port))
            s.sendall(multipart(self.server, LARGE, LONG[:4]) + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.server.wait("answered", lambda: self.server.stats()["running"] == 0)
            self.assertEqual(self.server.segment(DOG).status, 200)
            got = b""
            while part := s.recv(4096):
                got += part
        self.assertTrue(got.startswith(b"HTTP/1.1 200") and got.endswith(b"ok\n"))

    def test_garbage(self):
        for text in (b"\0" * 5000, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9000 + b"\r\n",
                     b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", b"\x16\x03\x01\x02\x00"):
            with self.server.socket() as s:
                s.settimeout(2)
                try:
                    s.sendall(text)
                    s.recv(1000)
                except OSError:
                    pass
        self.assertEqual(self.server.request("GET", "/healthz").status, 200)


class Limits(unittest.TestCase):
    def test_a_head_that_never_ends(self):
        server = Server("--upload-seconds", 1, "--idle-seconds", 1)
        with server.socket() as drip, server.socket() as keeps_on:
            began = time.monotonic()
            drip.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
            with self.assertRaises(OSError):
                while time.monotonic() - began < 10:
                    drip.sendall(b"x")
                    time.sleep(0.1)
                    keeps_on.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    self.assertIn(b" 200 ", keeps_on.recv(10000))
        self.assertEqual(server.stop(), 0)

    def test_requests_that_take_too_long(self):
        server = Server("--request-seconds", "0.3")
        image = server.upload(LARGE, "image/png")
        answer = server.post_json(f"/v1/images/{image}/segment", {"prompts": LONG, "threshold": 0})
        self.assertEqual((answer.status, answer.json()["type"]), (408, "/problems/timeout"))
        job = server.start_job(image, threshold=0)
        name, data = list(server.events(job))[-1]
        self.assertEqual((name, data["status"]), ("failed", 408))
        self.assertEqual(server.request("GET", "/v1/jobs/" + job).json()["problem"], data)
        self.assertEqual(server.stop(), 0)

    def test_images_make_room(self):
        server = Server("--image-bytes", 2_000_000)
        first, *_ = ids = [server.upload(harness.png(700, 300, i), "image/png") for i in range(4)]
        self.assertEqual(server.request("GET", "/v1/images/" + first).status, 404)
        self.assertEqual(server.request("GET", "/v1/images/" + ids[-1]).status, 200)
        self.assertEqual(server.stop(), 0)

    def test_keys_and_reload(self):
        file = harness.FOLDER / "keys.yaml"
        log = harness.FOLDER / "keys.log"
        file.write_text(f"api_keys: [first-key, second-key]\nthreshold: 1\nlog_file: {log}\n")
        server = Server("-c", file, wait=False)
        server.wait("ready", lambda: server.request("GET", "/readyz").status == 200)
        for headers in ({}, {"X-API-Key": "first-ke"}, {"X-API-Key": "first-key2"}, {"X-API-Key": ""},
                        {"Authorization": "Basic first-key"}, {"X-API-Key": "a" * 5000}):
            answer = server.request("GET", "/v1/model", headers=headers)
            self.assertEqual((answer.status, answer.json()["type"]), (401, "/problems/unauthorized"), headers)
            self.assertTrue(answer.headers["WWW-Authenticate"])
        self.assertEqual(server.segment(DOG).status, 401)
        key = {"Authorization": "Bearer second-key"}
        self.assertEqual(server.request("GET", "/v1/model", headers=key).status, 200)
        self.assertEqual(server.segment(DOG, headers=key).json()["results"][0]["detections"], [])
        self.assertEqual(server.request("GET", "/").status, 200)
        file.write_text(f"api_keys: [third-key]\nthreshold: 0\nlog_file: {log}\n")
        log.rename(harness.FOLDER / "old.log")
        server.process.send_signal(signal.SIGHUP)
        server.wait("the new key", lambda: server.request("GET", "/v1/model", headers={"X-API-Key": "third-key"}).status == 200)
        self.assertEqual(server.request("GET", "/v1/model", headers=key).status, 401)
        self.assertNotEqual(server.segment(DOG, headers={"X-API-Key": "third-key"}).json()["results"][0]["detections"], [])
        self.assertIn('"settings read again', log.read_text())
        file.write_text(f"api_keys: [third-key, {'k' * 256}]\nlog_file: {log}\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait("the complaint", lambda: "api_keys: number 2 has more than 255 bytes" in log.read_text())
        file.write_text("thresold: 1\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait("the complaint", lambda: "unknown key 'thresold'" in log.read_text())
        self.assertEqual(server.request("GET", "/v1/model", headers={"X-API-Key": "third-key"}).status, 200)
        self.assertEqual(server.stop(), 0)
        self.assertNotIn("third-key", log.read_text())

    def test_cross_origin_is_off_unless_asked_for(self):
        server = Server("--cors-origins", "https://good.example")
        for origin, allowed in (("https://good.example", "https://good.example"), ("https://bad.example", None)):
            answer = server.request("GET", "/v1/model", headers={"Origin": origin})
            self.assertEqual(answer.headers["Access-Control-Allow-Origin"], allowed)
        answer = server.request("OPTIONS", "/v1/segment", headers={"Origin": "https://good.example"})
        self.assertEqual((answer.status, answer.headers["Access-Control-Allow-Origin"]), (204, "https://good.example"))
        self.assertEqual(server.stop(), 0)

    def test_names_of_the_server(self):
        server = Server("--allowed-hosts", "sam.example,Other.example", "--cors-origins", "https://good.example", "--api-keys", "k")
        key = {"X-API-Key": "k"}
        for host, good in (("127.0.0.1", True), ("192.168.1.20:7860", True), ("[::1]:7860", True), ("localhost:1", True),
                           ("LocalHost", True), ("sam.example", True), ("SAM.example:443", True), ("other.example", True),
                           ("evil.example", False), ("sam.example.evil.example", False), ("127.0.0.1.evil.example", False),
                           ("evil.example:7860", False), ("[::1].evil.example", False), ("[evil.example]", False),
                           ("127.0.0.1:80:80", False), ("localhost:evil", False), ("::1", False), ("0x7f000001", False),
                           ("a" * 2000, False), ("*", False)):
            with self.subTest(host=host):
                for path in ("/", "/v1/devices", "/metrics", "/nothing"):
                    answer = server.request("GET", path, headers={"Host": host} | key)
                    self.assertEqual(answer.status == 421, not good, answer.body)
                    if not good:
                        self.assertEqual(answer.json()["type"], "/problems/misdirected")
                        self.assertIn("allowed_hosts", answer.json()["detail"])
        here = f"http://127.0.0.1:{server.port}"
        for origin, good in ((None, True), (here, True), (here.replace("http", "https"), True), ("https://good.example", True),
                             ("http://good.example", False), ("https://evil.example", False), ("null", False),
                             ("http://127.0.0.1:1", False), (here + ".evil.example", False), (here + "/", False), ("x" * 2000, False)):
            with self.subTest(origin=origin):
                headers = key | ({"Origin": origin} if origin else {})
                answer = server.segment(DOG, headers=headers)
                self.assertEqual(answer.status, 200 if good else 403, answer.body)
                self.assertEqual(server.request("DELETE", "/v1/images/x", headers=headers).status, 404 if good else 403)
                self.assertEqual(server.request("GET", "/v1/model", headers=headers).status, 200)
                if not good:
                    self.assertEqual(answer.json()["type"], "/problems/forbidden")
                    self.assertIn("cors_origins", answer.json()["detail"])
        with server.socket() as s:  # an old client that names none
            s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            self.assertIn(b" 200 ", s.recv(1000))
        self.assertEqual(server.stop(), 0)
        server = Server("--allowed-hosts", "*")
        self.assertEqual(server.request("GET", "/v1/model", headers={"Host": "any.example"}).status, 200)
        self.assertEqual(server.stop(), 0)

    def test_processes(self):
        server = Server("-d", "cpu:0,cpu:1", "--schedule", "replicate")
        stats = server.stats()
        self.assertEqual((stats["parallel"], stats["schedule"], len(stats["workers"])), ("processes", "replicate", 2))
        self.assertEqual(server.segment(DOG).status, 200)
        children = [w["process"] for w in stats["workers"]]
        self.assertEqual(server.stop(signal.SIGINT), 0)
        for child in children:
            self.assertFalse(os.path.exists(f"/proc/{child}"), "a worker is left")


class End(unittest.TestCase):
    def test_drain(self):
        server = Server("--drain-seconds", 300)
        image = server.upload(LARGE, "image/png")
        job = server.start_job(image, LONG[:12], threshold=0)
        events = server.events(job)
        next(events)
        server.wait("it runs", lambda: server.stats()["running"] == 1)
        server.process.send_signal(signal.SIGTERM)
        server.wait("it drains", lambda: "draining" in server.output())
        answer = server.segment(DOG)
        self.assertEqual((answer.status, answer.json()["type"]), (503, "/problems/unavailable"))
        self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
        self.assertEqual(server.request("GET", "/readyz").status, 503)
        self.assertEqual(server.request("GET", "/healthz").status, 200)
        self.assertEqual(list(events)[-1][0], "done")  # what ran has ended well
        self.assertEqual(server.process.wait(60), 0)

    def test_a_job_can_be_fetched_when_its_server_ends(self):
        server = Server()
        job = server.start_job(server.upload(), DOG, threshold=0)
        server.wait("it has ended", lambda: server.stats()["done"] == 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)  # as long as the page waits between two looks
        self.assertEqual(server.request("GET", "/v1/jobs/" + job).json()["state"], "done")
        self.assertEqual(server.process.wait(60), 0)

    def test_drain_has_a_limit(self):
        server = Server("--drain-seconds", "0.2")
        image = server.upload(LARGE, "image/png")
        for _ in range(5):
            server.start_job(image, threshold=0)
        waiting = server.socket()
        body = json.dumps({"prompts": LONG}).encode()
        waiting.sendall(f"POST /v1/images/{image}/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        server.wait("six jobs", lambda: (lambda s: s["queued"] + s["running"] == 6)(server.stats()))
        began = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - began, 30)  # the jobs would take longer
        waiting.close()


class Start(unittest.TestCase):
    def fails(self, done, *says, code=1):
        self.assertEqual(done.returncode, code, done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)

    def test_port_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = serve("-m", harness.MODEL, "--port", port)
            self.fails(done, f"port {port} is in use by process {os.getpid()} (", "--port", "$SAM3_PORT")

    def test_bad_model_and_host(self):
        self.fails(serve("-m", harness.FOLDER / "none", "--port", 0), "none")
        self.fails(serve("-m", harness.MODEL, "--port", 0, "-d", "cpu:999"), "cpu:999")
        self.fails(serve("-m", harness.MODEL, "--port", 0, "-d", "[0,999]"), "999 is a core, cpu:999", 'device "cpu:999"')
        self.fails(serve("-m", harness.MODEL, "--port", 0, "--host", "nowhere.example"), "nowhere.example", code=2)
        self.fails(serve("-m", harness.MODEL, "--port", 0, "--log-file", "/nonexistent/x.log"), "/nonexistent/x.log")

    def test_bad_files(self):
        file = harness.FOLDER / "bad.yaml"
        for text, *says in (("port: 80\nprot: 5\n", "line 2", "prot"), ("\n\nport: abc\n", "line 3", "port", "abc"),
                            ("port: 70000\n", "line 1", "port"), ("port: [1]\n", "line 1", "port"),
                            ("use_ddp: maybe\n", "line 1", "use_ddp"), ("threshold: nan\n", "line 1", "threshold"),
                            ("schedule: fast\n", "line 1", "auto, replicate, split"), ("port: 1\nport: 2\n", "line 2", "twice"),
                            ("port: 1\nhost: \"abc\n", "YAML"), ("- a\n", "line 1"), ("a: {b: c}\n", "line 1", "'a'"),
                            ("device_ids: [[0]]\n", "line 1", "device_ids"), ("port: 1\n---\nport: 2\n", "line 2")):
            file.write_text(text)
            with self.subTest(text=text):
                self.fails(serve("-c", file, "-m", harness.MODEL), str(file), *says, code=1 if "YAML" in says else 2)
        self.fails(serve("-c", harness.FOLDER / "none.yaml"), "none.yaml")
        self.fails(serve("-m", harness.MODEL, "--api-keys", "k" * 256), "api_keys", "255 bytes", code=2)
        self.fails(serve("--port", "x"), "--port", "'x'", code=2)
        self.fails(serve(env={"SAM3_PORT": "-1"}), "$SAM3_PORT", "'-1'", code=2)
        self.fails(serve("--prot", "1"), "--prot", code=2)
        self.fails(serve("file"), "file", code=2)

    def test_precedence(self):
        file = harness.FOLDER / "some.yaml"
        file.write_text("# all kinds\nhost: 127.0.0.1\nschedule: split\nmax_prompts: 1\ndevice_ids: [0, 1]\nuse_ddp: false\n"
                        "num_workers: 2\ncors_origins:\n- http://a\n- http://b\nlog_file:\n")

        def prompts_allowed(server):
            return next(n for n in range(4, 0, -1) if server.segment(DOG * n).status == 200)
        server = Server("-c", file)
        stats = server.stats()
        self.assertEqual((stats["parallel"], stats["schedule"]), ("threads", "split"))
        self.assertEqual([w["device"] for w in stats["workers"]], ["cpu:0", "cpu:1"])
        self.assertEqual(prompts_allowed(server), 1)
        self.assertEqual(server.stop(), 0)
        server = Server("-c", file, env={"SAM3_MAX_PROMPTS": "2", "SAM3_DEVICE_IDS": "[1]"})
        self.assertEqual(prompts_allowed(server), 2)
        self.assertEqual([w["device"] for w in server.stats()["workers"]], ["cpu:1"])
        self.assertEqual(server.stop(), 0)
        server = Server("-c", file, "--max-prompts", 3, env={"SAM3_MAX_PROMPTS": "2", "SAM3_SCHEDULE": "auto"})
        self.assertEqual(prompts_allowed(server), 3)
        self.assertEqual(server.stats()["schedule"], "auto")
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
