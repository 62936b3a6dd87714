"""A running server and small pieces of HTTP. Standard library, and numpy to make the model.

Environment: SAM3_PROGRAM, the program.
"""
import atexit
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SAM3_PROGRAM", "sam3")
SAMPLE = (ROOT / "models/demo/samples/sea.jpg").read_bytes()
FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def _make_model():
    sys.path.insert(0, str(ROOT / "tools/reference"))
    import make_model
    import presets
    make_model.make(FOLDER / "tiny", presets.config("ash"), 1, "plain", "f32")
    return FOLDER / "tiny"


MODEL = _make_model()


def png(width, height, value=0):
    """A grey PNG, small however many pixels it has."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes([value]) * width) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def environment(more):
    return {k: v for k, v in os.environ.items() if not k.startswith("SAM3_")} | more


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body)


class Server:
    """`sam3 serve` on a free port; ready when made."""

    def __init__(self, *flags, env=None, wait=True):
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as log:
            self.log = log.name
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "-m", str(MODEL), "--port", "0", *map(str, flags)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment(env or {}))
        atexit.register(self.process.kill)
        self.port = self._port()
        while wait and self.request("GET", "/readyz").status != 200:
            time.sleep(0.02)

    def _port(self):
        for _ in range(3000):
            for line in self.output().splitlines():
                if "serving on http" in line:
                    return int(line.rsplit(":", 1)[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError("the server did not start: " + self.output())

    def output(self):
        return Path(self.log).read_text(encoding="utf-8", errors="replace")

    def records(self):
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def socket(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, data):
        """What comes for these bytes, until the server closes the connection."""
        with self.socket() as s:
            s.sendall(data)
            return b"".join(iter(lambda: s.recv(65536), b""))

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post_json(self, path, value, headers=None):
        return self.request("POST", path, json.dumps(value), {"Content-Type": "application/json"} | (headers or {}))

    def post_form(self, path, fields, headers=None):
        body, kind = form(fields)
        return self.request("POST", path, body, {"Content-Type": kind} | (headers or {}))

    def segment(self, prompts, image=SAMPLE, headers=None, **more):
        fields = {"image": image, "prompts": json.dumps(prompts)} | {k: str(v) for k, v in more.items()}
        return self.post_form("/v1/segment", fields, headers)

    def upload(self, image=SAMPLE, kind="image/jpeg"):
        return self.request("POST", "/v1/images", image, {"Content-Type": kind}).json()["id"]

    def start_job(self, image_id, prompts=None, **more):
        answer = self.post_json(f"/v1/images/{image_id}/segment", {"prompts": prompts or LONG} | more,
                                {"Prefer": "respond-async"})
        return answer.json()["job"] if answer.status == 202 else answer

    def stats(self):
        return self.request("GET", "/v1/devices").json()

    def wait(self, what, condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {what}\n{self.output()[-2000:]}")

    def events(self, job):
        """(event, data) as they come."""
        connection = self.connect()
        connection.request("GET", f"/v1/jobs/{job}/events")
        response = connection.getresponse()
        assert response.status == 200 and response.headers["Content-Type"] == "text/event-stream"
        event = None
        for line in response:
            line = line.decode().rstrip("\n")
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                yield event, json.loads(line[6:])
        connection.close()

    def stop(self, signal=15, seconds=60):
        self.process.send_signal(signal)
        return self.process.wait(seconds)


# A request that takes a while even on the tiny model.
LONG = [{"text": f"thing {i}", "boxes": [{"box": [10, 10, 100 + i, 100]}]} for i in range(32)]
LARGE = png(4000, 3000)


def form(fields):
    boundary, parts = "x" * 30, []
    for name, value in fields.items():
        data = value if isinstance(value, bytes) else value.encode()
        file = '; filename="a b.jpg"' if name == "image" else ""
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
