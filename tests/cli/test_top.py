#!/usr/bin/env python3
"""sam3 top, before a server that says what it is told to. test_top.py PROGRAM DIRECTORY"""
import http.server
import json
import os
import pty
import select
import socket
import struct
import subprocess
import fcntl
import termios
import threading
import time
import unittest

from program import Case


def look(busy=2.5, age=10.0, device="cpu:1"):
    worker = {"device": "cpu:0", "state": "busy", "process": 71, "requests": 12, "failures": 1, "restarts": 3, "images": 9,
              "cache_hits": 4, "cached": 2, "memory": 1500000000, "weights": 3400000000, "busy": busy, "age": age,
              "stages": [{"stage": "vision", "count": 4, "seconds": 2.0}, {"stage": "text", "count": 0, "seconds": 0}]}
    other = dict(worker, device=device, state="idle", busy=0, requests=99, stages=[])
    return {"parallel": "processes", "schedule": "auto", "queued": 5, "running": 1, "accepted": 120, "rejected": 7,
            "done": 111, "failed": 2, "cancelled": 1, "workers": [worker, other]}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        body, status = self.server.answer(len(self.server.seen)), self.server.status
        self.send_response(status)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:50], body[50:])) + b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body) + self.server.missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Top(Case):
    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.seen, self.server.status, self.server.chunked, self.server.missing = [], 200, False, 0
        self.server.answer = lambda n: json.dumps(look()).encode()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        super().tearDown()

    def rows(self, text):
        return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}

    def test_once(self):
        text = self.check(0, "top", self.url, "--once").stdout
        rows = self.rows(text.split("MEAN MS")[0])
        self.assertEqual(rows["cpu:0"], "busy 25 % 12 1 9 4 1.5 GB 3.4 GB 3".split())
        self.assertEqual(rows["cpu:1"][:4], "idle 0 % 99".split())
        for word in ("processes, auto", "queue 5, running 1", "120 accepted", "111 done", "2 failed", "1 cancelled",
                     "7 rejected"):
            self.assertIn(word, text)
        stages = self.rows(text.split("MEAN MS")[1])
        self.assertEqual((stages["vision"], stages["text"]), (["500.0", "-"], ["-", "-"]))
        self.assertNotIn("\x1b", text)
        path, headers = self.server.seen[0]
        self.assertEqual(path, "/v1/devices")
        self.assertEqual(headers["Host"], self.url[7:])
        self.assertEqual(self.check(0, "top", self.url).stdout, text)  # into a pipe

    def test_json(self):
        self.server.answer = lambda n: b'{"workers": [], "more":  1.0}\n'
        for self.server.chunked in (False, True):
            self.assertEqual(self.check(0, "top", self.url[7:] + "/", "--json").stdout,
                             '{"workers": [], "more":  1.0}\n')
        self.check(0, "top", self.url + "/prefix", "--once")
        self.assertEqual(self.server.seen[-1][0], "/prefix/v1/devices")

    def test_names_do_nothing_to_the_terminal(self):
        self.server.answer = lambda n: json.dumps(look(device="\x1b[2Jx")).encode()
        self.assertIn("?[2Jx", self.check(0, "top", self.url, "--once").stdout)

    def test_errors(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.check(1, "top", f"http://127.0.0.1:{port}", "--once", says=[f"127.0.0.1:{port}", "nobody listens"])
        for status, says in ((404, "404"), (401, "SAM3_API_KEY"), (503, "503")):
            self.server.status = status
            self.check(1, "top", self.url, says=says)
        self.server.status = 200
        for body in (b"", b"[]", b"{", b'{"workers": 3}', b"\xff", b"null"):
            self.server.answer = lambda n, body=body: body
            self.check(1, "top", self.url, "--json", says="not a sam3 server")
        self.server.missing = 5
        self.check(1, "top", self.url, says="incomplete")
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()

            def answer():
                with mute.accept()[0] as peer:
                    peer.recv(4096)
                    peer.sendall(b"220 mail\r\n")
            threading.Thread(target=answer, daemon=True).start()
            self.check(1, "top", "127.0.0.1:%d" % mute.getsockname()[1], says="HTTP")
        for url, says in (("https://x", "only http"), ("http://", "no host"), ("x:0", "port"), ("x:99999", "port"),
                          ("x:1y", "not an address"), ("[::1", "]"), ("http://x/?a", "not an address")):
            self.check(2, "top", url, says=says)
        self.check(2, "top", "a", "b", says="unexpected argument b")

    def test_live(self):
        # Busy is that of the last second: 0.75 s of it.
        self.server.answer = lambda n: json.dumps(look(2.5 + 0.75 * n, 10.0 + n)).encode()
        ours, theirs = pty.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        before = termios.tcgetattr(theirs)
        process = self.start("top", self.url, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
        shown, end = "", time.monotonic() + 20
        while "75 %" not in shown and time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536).decode()
        os.write(ours, b"q")
        end = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < end:
            if select.select([ours], [], [], 0.05)[0]:
                shown += os.read(ours, 65536).decode()
        self.assertEqual(process.wait(timeout=1), 0)
        process.stderr.close()
        self.assertIn("75 %", shown)
        self.assertGreaterEqual(len(self.server.seen), 2)
        self.assertEqual(termios.tcgetattr(theirs), before)
        while select.select([ours], [], [], 0)[0]:
            shown += os.read(ours, 65536).decode()
        self.assertTrue(shown.endswith("\x1b[?1049l"), shown[-20:])
        os.close(theirs)
        os.close(ours)


if __name__ == "__main__":
    unittest.main()
