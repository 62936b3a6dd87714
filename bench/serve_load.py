#!/usr/bin/env python3
"""`sam3 serve` under more than it can do, from clients that behave and clients that do not.

  bench/serve_load.py --program build/src/cli/sam3 [--seconds 60] [--connections 200] [--kill 5] [--json FILE] ...

It starts a server on a free port and learns, while it is idle, the right answers, what HTTP costs and how many requests
a second the server can do. Then CONNECTIONS clients together send LOAD times as many, among them slow readers, bodies
that stop half-way, clients that leave while they wait or are served, and files that are none; --kill ends a worker
process every so many seconds with SIGKILL. Then SIGTERM comes while all of that goes on, the server is started again on
the same port, and all goes on.

Exit 1 unless: every answer is right, or a 429 or 503 with Retry-After; wrong requests are told so; nothing that was
sent before SIGTERM, or to the server that follows, stays without its answer; nothing is left in the server afterwards;
it ends with 0. Times and memory
are told, and judged with --judge (docs/benchmarks.md has the aims). Standard library alone; Linux.
"""
import argparse
import asyncio
import collections
import json
import math
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "models/demo/samples"
JSON = {"Content-Type": "application/json"}
UPLOAD_SECONDS = 3
DRAIN_SECONDS = 60
BEGINS = 0.3  # seconds of work after which memory is measured: caches are full then, as a part of the run


# ---- HTTP ----

Answer = collections.namedtuple("Answer", "status headers body")


def message(method, path, body=b"", headers=None):
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def form(image, prompts, threshold, kind=None):
    mark = "b" * 30
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"
             for name, more, data in (("image", '; filename="x.jpg"', image), ("prompts", "", json.dumps(prompts).encode()),
                                      ("threshold", "", str(threshold).encode()))]
    return message("POST", "/v1/segment", b"".join(parts) + f"--{mark}--\r\n".encode(),
                   {"Content-Type": kind or f"multipart/form-data; boundary={mark}"})


async def read_head(reader):
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    return int(status.split()[1]), {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}


async def read_answer(reader):
    status, headers = await read_head(reader)
    return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def last_event(reader):
    """Of a stream of events, which comes in chunks; its name and data."""
    text = b""
    while size := int(await reader.readline(), 16):
        text += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    event, data = text.rstrip().split(b"\n\n")[-1].split(b"\n")
    return event.removeprefix(b"event: ").decode(), data.removeprefix(b"data: ")


class Connection:
    """Kept open from request to request, and opened again when it is gone."""

    def __init__(self, port, buffer=None):
        self.port, self.buffer, self.reader, self.writer = port, buffer, None, None

    async def open(self):
        if self.writer and not self.reader.at_eof():
            return
        await self.close()
        s = socket.socket()
        s.setblocking(False)
        if self.buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        await asyncio.get_running_loop().sock_connect(s, ("127.0.0.1", self.port))
        self.reader, self.writer = await asyncio.open_connection(sock=s, limit=1 << 16)

    async def send(self, data):
        await self.open()
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, data):
        await self.send(data)
        answer = await read_answer(self.reader)
        if answer.headers.get("connection") == "close":
            await self.close()
        return answer

    async def close(self):
        if self.writer:
            self.writer.transport.abort()
        self.writer = None


# ---- the server ----

class Server:
    def __init__(self, options):
        self.log = tempfile.NamedTemporaryFile(prefix="serve_load", suffix=".log")
        self.options = options
        self.start(0)

    def start(self, port):
        """Returns when it is ready."""
        options, self.log_begins = self.options, len(self.output())
        flags = ["--port", port, "--device-ids", options.devices, "--queue-requests", options.queue,
                 "--upload-seconds", UPLOAD_SECONDS, "--drain-seconds", DRAIN_SECONDS, *options.flag]
        began = time.monotonic()
        self.process = subprocess.Popen([options.program, "serve", "-m", options.model, *map(str, flags)],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        while "sam3: ready" not in (said := self.output()[self.log_begins:]):
            if self.process.poll() is not None:
                sys.exit("the server did not start: " + said)
            time.sleep(0.005)
        self.ready = time.monotonic() - began
        self.port = int(next(line for line in said.splitlines() if "serving on" in line).rsplit(":", 1)[1])

    def output(self):
        return Path(self.log.name).read_text(encoding="utf-8", errors="replace")

    def workers(self):
        """Its child processes."""
        pid = self.process.pid
        try:
            return [int(p) for t in os.listdir(f"/proc/{pid}/task")
                    for p in Path(f"/proc/{pid}/task/{t}/children").read_text().split()]
        except OSError:
            return []

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self):
        """MB that server and workers have of their own: without files that are mapped (the weights)."""
        total = 0
        for pid in [self.process.pid, *self.workers()]:
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue  # it was killed
            total += sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem")))
        return total / 1000


# ---- answers ----

def close_to(a, b):
    """Whether two documents of results are the same but for rounding."""
    if len(a) != len(b):
        return False
    for x, y in zip(a, b):
        if x["prompt"] != y["prompt"] or len(x["detections"]) != len(y["detections"]):
            return False
        for d, e in zip(x["detections"], y["detections"]):
            if (d["label"] != e["label"] or not abs(d["score"] - e["score"]) < 1e-3
                    or not abs(d["area"] - e["area"]) <= 0.01 * e["area"] + 4
                    or not all(abs(p - q) < 1 for p, q in zip(d["box"], e["box"]))):
                return False
    return True


class Question:
    def __init__(self, name, image, prompts, threshold):
        self.name, self.image, self.prompts, self.threshold = name, image, prompts, threshold
        self.form = form(image, prompts, threshold)
        self.id = self.right = None

    def by_id(self, headers=None):
        body = json.dumps({"prompts": self.prompts, "threshold": self.threshold}).encode()
        return message("POST", f"/v1/images/{self.id}/segment", body, JSON | (headers or {}))


def questions():
    all_of_them = []
    for sample in json.loads((SAMPLES / "samples.json").read_text()):
        image = (SAMPLES / sample["image"]).read_bytes()
        prompts = [{"text": text, "boxes": []} for text in sample["phrases"][:2]]
        all_of_them.append(Question(sample["image"], image, prompts, 0.5))
    return all_of_them


def wrong(question):
    """(request, statuses that it may get)"""
    image = question.image
    return [(form(b"this is no image at all", question.prompts, 0.5), {415}),
            (form(image[:len(image) // 3], question.prompts, 0.5), {422}),
            (form(image, [{"txt": "dog"}], 0.5), {422}),
            (form(image, question.prompts, 7), {422}),
            (form(image, question.prompts, 0.5, "text/plain"), {415}),
            (form(image, question.prompts, 0.5, "multipart/form-data"), {400}),
            (form(image, [{"text": "dog"}] * 1000, 0.5), {413, 422}),
            (message("POST", "/v1/segment", b'{"image": "/etc/passwd", "prompts"', JSON), {400}),
            (message("POST", "/v1/segment", b'{"image": "no base64!", "prompts": [{"text": "a"}]}', JSON), {422}),
            (message("POST", f"/v1/images/{'0' * 32}/segment", b'{"prompts": [{"text": "dog"}]}', JSON), {404}),
            (message("PUT", "/v1/segment"), {405}), (message("GET", "/v1/nothing"), {404})]


# ---- the load ----

class Load:
    def __init__(self, server, options):
        self.server, self.options = server, options
        self.questions = questions()
        self.counts = collections.Counter()
        self.complaints = []
        self.seconds = []  # of answers that are right
        self.ending = None  # when SIGTERM was sent
        self.back = math.inf  # when the next server had the images
        self.ended = asyncio.Event()
        self.random = random.Random(options.seed)

    def complain(self, text):
        self.counts["other"] += 1
        if len(self.complaints) < 20:
            self.complaints.append(text)

    def connection(self, **more):
        return Connection(self.server.port, **more)

    async def get(self, path):
        c = self.connection()
        answer = await c.ask(message("GET", path))
        await c.close()
        return answer

    # ---- before ----

    async def learn(self):
        """The right answers, from a server that has nothing else to do."""
        c = self.connection()
        for q in self.questions:
            answer = await c.ask(q.form)
            assert answer.status == 200, answer
            q.right = json.loads(answer.body)["results"]
            self.counts["detections"] += sum(len(r["detections"]) for r in q.right)
        assert self.counts.pop("detections") > 0, "the model finds nothing: this would show nothing"
        await c.close()
        await self.upload()

    async def upload(self):
        c = self.connection()
        for q in self.questions:
            answer = await c.ask(message("POST", "/v1/images", q.image, {"Content-Type": "image/jpeg"}))
            q.id = json.loads(answer.body)["id"]
        await c.close()

    async def overhead(self, runs):
        """Median ms that HTTP adds to what the engine takes: of a prompt on a kept image, and of a whole form."""
        c, cost = self.connection(), {"by_id": [], "form": []}
        for i in range(runs):
            q = self.questions[i % 2]
            for name, request in (("by_id", q.by_id()), ("form", q.form)):
                began = time.perf_counter()
                answer = await c.ask(request)
                wall = 1e3 * (time.perf_counter() - began)
                timing = json.loads(answer.body)["timing"]
                cost[name].append(wall - timing["queued_ms"] - timing["running_ms"])
        await c.close()
        return {name: round(statistics.median(values), 3) for name, values in cost.items()}

    async def capacity(self, seconds):
        """Requests a second: so many clients that each device has some waiting."""
        end, done = time.monotonic() + seconds, 0

        async def client(i):
            nonlocal done
            c = self.connection()
            while time.monotonic() < end:
                q = self.questions[(i + done) % len(self.questions)]
                answer = await c.ask(q.form)
                done += answer.status == 200
            await c.close()
        began = time.monotonic()
        await asyncio.gather(*(client(i) for i in range(8 * len(self.options.devices.split(",")))))
        return done / (time.monotonic() - began)

    # ---- clients ----

    def judge(self, q, answer, began, allowed=()):
        if answer.status == 200 and not allowed:
            results = json.loads(answer.body)["results"]
            if results == q.right:
                self.counts["ok"] += 1
            elif close_to(results, q.right):
                self.counts["ok"] += 1
                self.counts["ok within rounding"] += 1
            else:
                self.counts["wrong answers"] += 1
                self.complain(f"{q.name}: not what it was alone: {answer.body[:300]}")
            self.seconds.append(time.monotonic() - began)
        elif answer.status in (429, 503):
            self.counts[answer.status] += 1
            if not answer.headers.get("retry-after", "").isdigit():
                self.complain(f"{answer.status} without Retry-After: {answer.body[:300]}")
            if answer.status == 503 and not self.ending and not self.options.kill:
                self.complain(f"503 though nothing has failed: {answer.body[:300]}")
        elif answer.status in allowed:
            self.counts["told what is wrong"] += 1
        elif answer.status == 404 and self.ending and began < self.back:
            self.counts["asked for what the server before had"] += 1
        else:
            self.complain(f"{q.name}: {answer.status}, not {allowed or 200}: {answer.body[:300]}")

    async def plain(self, q, c):
        began = time.monotonic()
        self.judge(q, await c.ask(q.form if self.random.random() < 0.5 else q.by_id()), began)

    async def job(self, q, c):
        """Asks for it as a job, and reads its events."""
        began = time.monotonic()
        answer = await c.ask(q.by_id({"Prefer": "respond-async"}))
        if answer.status != 202:
            return self.judge(q, answer, began)
        job = json.loads(answer.body)
        if self.random.random() < 0.3:  # or has enough of it
            answer = await c.ask(message("DELETE", job["url"]))
            self.counts["jobs cancelled"] += answer.status == 204
            return None if answer.status == 204 else self.complain(f"DELETE of a job: {answer}")
        await c.send(message("GET", job["events"]))
        status, headers = await read_head(c.reader)
        name, data = await last_event(c.reader)
        if name == "done":
            self.counts["jobs done"] += 1
            self.judge(q, Answer(200, headers, data), began)
            await c.ask(message("DELETE", job["url"]))  # it would be kept for 5 minutes: no leak, but it looks like one
        elif name == "failed" and json.loads(data)["status"] == 503 and (self.options.kill or self.ending):
            self.counts["jobs failed"] += 1
        else:
            self.complain(f"a job's events ({status}) end with {name} {data[:300]}")

    async def slow(self, q, _):
        """Reads its answer, a large one, drop by drop."""
        c = self.connection(buffer=4096)
        began = time.monotonic()
        try:
            await c.send(form(q.image, q.prompts, 0))
            status, headers = await read_head(c.reader)
            size, got = int(headers["content-length"]), b""
            while len(got) < size:
                part = await c.reader.read(min(2048, size - len(got)))
                if not part:
                    raise ConnectionError(f"{len(got)} of {size} bytes")
                got += part
                await asyncio.sleep(0.02)
            if status == 200:
                json.loads(got)
                self.counts["slowly read"] += 1
            else:
                self.judge(q, Answer(status, headers, got), began)
        finally:
            await c.close()

    async def half(self, q, _):
        """Stops in the middle of its body; waits for 408, or leaves."""
        c = self.connection()
        try:
            await c.send(q.form[:self.random.randrange(10, len(q.form) - 10)])
            if self.random.random() < 0.5:
                await asyncio.sleep(self.random.random())
                self.counts["left in the middle of a body"] += 1
                return
            try:
                answer = await asyncio.wait_for(read_answer(c.reader), UPLOAD_SECONDS + 90)
                self.judge(q, answer, 0, {408})
            except asyncio.IncompleteReadError:  # a head that never ends is only cut off
                self.counts["cut off"] += 1
        finally:
            await c.close()

    async def leave(self, q, _):
        """Leaves while it waits or is served."""
        c = self.connection()
        try:
            await c.send(q.form)
            await asyncio.sleep(2 * self.random.random() ** 3)
            self.counts["left"] += 1
        finally:
            await c.close()

    async def wrong(self, q, c):
        request, allowed = self.random.choice(wrong(q))
        self.judge(q, await c.ask(request), time.monotonic(), allowed)

    async def client(self, begins, pause):
        kinds, weights = zip((self.plain, 60), (self.job, 10), (self.slow, 6), (self.half, 6), (self.leave, 10), (self.wrong, 8))
        c = self.connection()
        await self.rest(begins)
        while not self.ended.is_set():
            sent, kind = time.monotonic(), self.random.choices(kinds, weights)[0]
            self.counts["sent"] += 1
            try:
                await kind(self.random.choice(self.questions), c)
            except (OSError, asyncio.IncompleteReadError) as e:
                await c.close()
                if self.ending and self.ending - 0.05 < sent < self.back:
                    self.counts["turned away at the end"] += 1
                else:
                    self.counts["lost"] += 1
                    self.complain(f"{kind.__name__}: no answer: {e!r}")
            await self.rest(sent + self.random.expovariate(1 / pause) - time.monotonic())
        await c.close()

    async def rest(self, seconds):
        """Until then, or until the end begins."""
        try:
            await asyncio.wait_for(self.ended.wait(), max(0, seconds))
        except TimeoutError:
            pass

    async def killer(self):
        while not self.ended.is_set():
            await self.rest(self.options.kill)
            workers = self.server.workers()
            starts = self.ending and self.back == math.inf  # a worker lost then is a start that failed
            if workers and not starts and not self.ended.is_set():
                os.kill(self.random.choice(workers), signal.SIGKILL)
                self.counts["workers killed"] += 1

    async def watch(self, memory):
        began = time.monotonic()
        while not self.ended.is_set():
            memory.append((time.monotonic() - began, self.server.memory()))
            await self.rest(0.25)

    # ---- all of it ----

    async def settle(self, files):
        """When all have left, the server holds nothing but what it keeps on purpose."""
        for _ in range(200):
            text = (await self.get("/metrics")).body.decode()
            held = {name: float(value) for name, value in (line.split() for line in text.splitlines() if line[0] != "#")
                    if name in ("sam3_queued_requests", "sam3_running_requests", "sam3_body_bytes", "sam3_jobs")}
            held["files"] = max(0, self.server.files() - files - 2)  # the last connection's may be open still
            if not any(held.values()):
                return
            await asyncio.sleep(0.1)
        self.complain(f"the server still holds {held}")

    async def load(self, seconds, memory):
        """All clients for a while; returns their tasks, told to come to an end."""
        pause = self.options.connections / (self.options.load * self.rate)
        self.ended.clear()
        tasks = [self.client(self.random.random() * min(pause, 2), pause) for _ in range(self.options.connections)]
        if memory is not None:
            tasks.append(self.watch(memory))
        if self.options.kill:
            tasks.append(self.killer())
        tasks = [asyncio.create_task(task) for task in tasks]
        await asyncio.sleep(seconds)
        return tasks

    async def run(self):
        options, result, memory = self.options, {}, []
        await self.learn()
        result["overhead_ms"] = await self.overhead(30)
        self.rate = await self.capacity(options.measure)
        files = self.server.files()
        probe = await asyncio.create_subprocess_exec(sys.executable, __file__, "--probe", str(self.server.port),
                                                     "--seconds", str(options.seconds), stdout=subprocess.PIPE)
        tasks = await self.load(options.seconds, memory)
        self.ended.set()
        result["capacity_per_s"] = round(self.rate, 1)
        result["offered_per_s"] = round(self.counts["sent"] / options.seconds, 1)
        result["probe"] = json.loads((await probe.communicate())[0])
        await asyncio.gather(*tasks)
        await self.settle(files)
        stats = json.loads((await self.get("/v1/devices")).body)
        result["restarts"] = sum(w["restarts"] for w in stats["workers"])
        result["memory"] = trend(memory)
        return result | {"ready_s": round(self.server.ready, 3)} | await self.restart()

    async def terminate(self):
        """SIGTERM; when the server has ended, the seconds that this took."""
        self.back, self.ending = math.inf, time.monotonic()
        self.server.process.send_signal(signal.SIGTERM)
        if await asyncio.to_thread(self.server.process.wait, 120):
            self.complain(f"the server ended with {self.server.process.returncode}: {self.server.output()[-1000:]}")
        took = time.monotonic() - self.ending
        if took > DRAIN_SECONDS:
            self.complain(f"the server took {took} s to end: new clients kept it")
        return round(took, 3)

    async def restart(self):
        """SIGTERM under load, and another server on its port."""
        tasks = await self.load(2, None)
        result = {"drain_s": await self.terminate()}
        await asyncio.to_thread(self.server.start, self.server.port)
        result["ready_again_s"] = round(self.server.ready, 3)
        await self.upload()
        self.back, before = time.monotonic(), self.counts["ok"]
        await asyncio.sleep(2)
        self.ended.set()
        await asyncio.gather(*tasks)
        result["ok_from_the_next"] = self.counts["ok"] - before
        if not result["ok_from_the_next"]:
            self.complain("the server that followed has answered nothing")
        await self.terminate()
        return result


def trend(samples):
    """The first, the last and the highest; and MB a minute by least squares, once caches are full."""
    kept = samples[int(BEGINS * len(samples)):]
    t0, m0 = (statistics.mean(v) for v in zip(*kept))
    spread = sum((t - t0) ** 2 for t, _ in kept)
    slope = sum((t - t0) * (m - m0) for t, m in kept) / spread if spread else 0
    return {"first_mb": round(samples[0][1], 1), "kept_first_mb": round(kept[0][1], 1), "last_mb": round(kept[-1][1], 1),
            "most_mb": round(max(m for _, m in samples), 1), "mb_per_minute": round(60 * slope, 2)}


def probe(port, seconds):
    """A process of its own, so that what is measured is the server: asks for health and metrics, one after another."""
    import http.client
    times, late = {"/healthz": [], "/metrics": []}, []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path, list_of in times.items():
            began = time.perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            list_of.append(1e3 * (time.perf_counter() - began))
            assert response.status == 200, response.status
            began = time.perf_counter()
            time.sleep(0.01)
            late.append(1e3 * (time.perf_counter() - began - 0.01))
    times["late"] = late  # how late this process is woken, with no server at all: what the machine adds
    print(json.dumps({path: {"count": len(t), "p50_ms": round(statistics.median(t), 3),
                             "p99_ms": round(sorted(t)[int(0.99 * len(t))], 3), "most_ms": round(max(t), 3)}
                      for path, t in times.items()}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="sam3")
    p.add_argument("--model", default=ROOT / "models/demo")
    p.add_argument("--devices", default="cpu:0,cpu:1", help="as device_ids (default cpu:0,cpu:1)")
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--connections", type=int, default=200)
    p.add_argument("--load", type=float, default=4, help="times the capacity (default 4)")
    p.add_argument("--queue", type=int, default=50, help="queue_requests of the server (default 50)")
    p.add_argument("--kill", type=float, default=0, help="seconds between SIGKILLs of workers (default: none)")
    p.add_argument("--measure", type=float, default=4, help="seconds to measure the capacity (default 4)")
    p.add_argument("--flag", action="append", default=[], help="of sam3 serve, as --flag=--schedule=replicate")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--judge", action="store_true", help="times and memory count, too: needs a machine with idle cores")
    p.add_argument("--json", help="the report, in a file")
    p.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.probe:
        return probe(options.probe, options.seconds)
    server = Server(options)
    load = Load(server, options)
    try:
        result = asyncio.run(load.run())
    finally:
        if server.process.poll() is None:
            print(server.output()[-3000:], file=sys.stderr)
            server.process.kill()
    result |= {"counts": dict(load.counts)}
    if load.seconds:
        result["answer_s"] = {"p50": round(statistics.median(load.seconds), 3), "most": round(max(load.seconds), 3)}
    print(json.dumps(result, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    slow = options.judge and (max(result["overhead_ms"].values()) > 2 or result["memory"]["mb_per_minute"] > 2
                              or any(v["p99_ms"] > 5 for k, v in result["probe"].items() if k != "late"))
    for complaint in load.complaints:
        print("WRONG:", complaint, file=sys.stderr)
    if slow:
        print("WRONG: slower, or larger, than docs/benchmarks.md says", file=sys.stderr)
    if not load.counts["ok"] or not load.counts[429]:
        sys.exit("WRONG: this was no load: there must be answers, and refusals")
    sys.exit(bool(load.counts["other"] or slow))


if __name__ == "__main__":
    main()
