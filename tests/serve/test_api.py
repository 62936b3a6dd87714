#!/usr/bin/env python3
"""Every endpoint and every class of error."""
import base64
import json
import re
import unittest

import harness
from harness import SAMPLE, Server

DOG = [{"text": "dog"}]
API = json.loads((harness.ROOT / "src/serve/openapi.json").read_text())
PROBLEMS = API["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-pixels", 20_000_000, "--max-body-bytes", 1_000_000, "--max-prompts", 40)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0, cls.server.output()

    def problem(self, answer, status, name, says=""):
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (status, "application/problem+json"), answer.body)
        body = answer.json()
        self.assertEqual(set(body), {"type", "title", "status", "detail"})
        self.assertEqual((body["type"], body["status"]), ("/problems/" + name, status))
        self.assertIn(body["type"], PROBLEMS)
        self.assertIn(says, body["detail"])

    def document(self, answer, prompts=1):
        self.assertEqual(answer.status, 200, answer.body)
        document = answer.json()
        self.assertEqual(set(document), {"model", "image", "results", "timing"})
        self.assertEqual(len(document["results"]), prompts)
        self.assertEqual(set(document["timing"]), {"queued_ms", "running_ms", "device", "encoded"})
        return document

    # ---- segmenting ----

    def test_form_json_and_id_agree(self):
        prompts = [{"text": "dog", "boxes": [{"box": [10, 20, 200.5, 220], "label": 0}]}, {"text": None, "boxes": [{"box": [1, 2, 90, 80]}]}]
        form = self.document(self.server.segment(prompts, threshold=0), 2)
        self.assertEqual(form["image"], {"path": "a b.jpg", "width": 640, "height": 480})
        self.assertGreater(len(form["results"][0]["detections"]), 0)
        body = {"image": base64.b64encode(SAMPLE).decode(), "prompts": prompts, "threshold": 0}
        as_json = self.document(self.server.post_json("/v1/segment", body), 2)
        by_id = self.document(self.server.post_json(f"/v1/images/{self.server.upload()}/segment", {"prompts": prompts, "threshold": 0}), 2)
        self.assertEqual(form["results"], as_json["results"])
        self.assertEqual(form["results"], by_id["results"])
        self.assertFalse(by_id["timing"]["encoded"])

    def test_agrees_with_the_program(self):
        path = harness.FOLDER / "sea.jpg"
        path.write_bytes(SAMPLE)
        done = harness.subprocess.run([harness.PROGRAM, "segment", path, "-p", "dog", "-t", "0", "-m", harness.MODEL],
                                      capture_output=True, check=True, env=harness.environment({}))
        document = self.document(self.server.segment(DOG, threshold=0))
        for want, got in zip(json.loads(done.stdout)["results"][0]["detections"], document["results"][0]["detections"], strict=True):
            self.assertAlmostEqual(want["score"], got["score"], delta=1e-5)

    def test_nothing_found_is_an_empty_list(self):
        self.assertEqual(self.document(self.server.segment(DOG, threshold=1))["results"][0]["detections"], [])

    def test_chinese(self):
        result = self.document(self.server.segment([{"text": "红色的汽车"}], threshold=0))["results"][0]
        self.assertEqual(result["prompt"], {"text": "红色的汽车", "boxes": [], "translated": "red car"})
        english = self.document(self.server.segment([{"text": "red car"}], threshold=0))["results"][0]
        self.assertEqual([d["score"] for d in result["detections"]], [d["score"] for d in english["detections"]])
        self.problem(self.server.segment([{"text": "量子"}]), 422, "untranslatable", "量子")
        for much in (39, 99):  # messages that end within a character
            self.problem(self.server.segment([{"text": "a" + "量子" * much}]), 422, "untranslatable", "a量子量子")

    # ---- images ----

    def test_images(self):
        one = self.server.request("POST", "/v1/images", SAMPLE, {"Content-Type": "image/jpeg"})
        self.assertEqual(one.status, 201)
        image = one.json()
        self.assertEqual((image["width"], image["height"]), (640, 480))
        self.assertEqual(self.server.post_form("/v1/images", {"image": SAMPLE}).json(), image)
        path = "/v1/images/" + image["id"]
        self.assertEqual(self.server.request("GET", path).json(), image)
        other = self.server.upload(harness.png(30, 20), "image/png")
        self.assertNotEqual(other, image["id"])
        self.assertEqual(self.server.request("DELETE", path).status, 204)
        self.problem(self.server.request("GET", path), 404, "not-found", image["id"])
        self.problem(self.server.request("DELETE", path), 404, "not-found")
        self.problem(self.server.post_json(path + "/segment", {"prompts": DOG}), 404, "not-found")

    # ---- errors ----

    def test_malformed(self):
        for body in (b"", b"{", b'{"a": 1, "a": 2}', b"\xff"):
            answer = self.server.request("POST", "/v1/segment", body, {"Content-Type": "application/json"})
            self.problem(answer, 400, "bad-request")
        broken = harness.form({"image": SAMPLE, "prompts": "[]"})[0][:-20]
        kind = "multipart/form-data; boundary=" + "x" * 30
        self.problem(self.server.request("POST", "/v1/segment", broken, {"Content-Type": kind}), 400, "bad-request")
        self.problem(self.server.request("POST", "/v1/segment", b"", {"Content-Type": "multipart/form-data"}), 400, "bad-request")
        self.problem(self.server.post_form("/v1/segment", {"image": SAMPLE, "prompts": "[{"}), 400, "bad-request")
        deep = self.server.request("POST", "/v1/segment", b"[" * 100_000, {"Content-Type": "application/json"})
        self.problem(deep, 400, "bad-request")

    def test_where_a_request_ends(self):
        # A proxy could read these otherwise, and take a part of one request for another.
        post = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for head in (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n",
                     b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n",
                     post + b"Content-Length: 2\r\nContent-Length: 3\r\n",
                     post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                     post + b"Transfer-Encoding: gzip, chunked\r\n", post + b"Transfer-Encoding: identity\r\n"):
            with self.subTest(head=head):
                answer = self.server.raw(head + b"\r\n")
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
                self.assertIn(b"/problems/bad-request", answer)
                self.assertEqual(answer.count(b"HTTP/1.1"), 1)
        chunked = self.server.raw(post + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n")
        self.assertTrue(chunked.startswith(b"HTTP/1.1 422 "), chunked)

    def test_unprocessable(self):
        def segment(value):
            return self.server.post_json("/v1/segment", value)
        image = base64.b64encode(SAMPLE).decode()
        for value, says in (([], "not a JSON object"), ({"image": image}, "prompts"),
                            ({"image": image, "prompts": []}, "prompts"), ({"prompts": DOG}, "no image"),
                            ({"image": 5, "prompts": DOG}, "base64"), ({"image": "a*==", "prompts": DOG}, "base64"),
                            ({"image": "aaaaa", "prompts": DOG}, "base64"),
                            ({"image": image, "prompts": DOG, "treshold": 1}, "treshold"),
                            ({"image": image, "prompts": DOG, "threshold": 1.5}, "threshold"),
                            ({"image": image, "prompts": DOG, "threshold": "x"}, "threshold"),
                            ({"image": image, "prompts": [{}]}, "prompts[0]"),
                            ({"image": image, "prompts": [5]}, "prompts[0]"),
                            ({"image": image, "prompts": [{"text": 5}]}, "prompts[0]"),
                            ({"image": image, "prompts": DOG + [{"texts": "x"}]}, "prompts[1]"),
                            ({"image": image, "prompts": [{"boxes": [{"box": [1, 2, 3]}]}]}, "boxes[0]"),
                            ({"image": image, "prompts": [{"boxes": [{"box": [5, 2, 3, 4]}]}]}, "boxes[0]"),
                            ({"image": image, "prompts": [{"boxes": [{"box": [0, 0, 1e300, 4]}]}]}, "finite"),
                            ({"image": image, "prompts": [{"boxes": [{"box": [0, 0, 9, 4], "label": 2}]}]}, "label"),
                            ({"image": image, "prompts": DOG * 41}, "limit of 40")):
            self.problem(segment(value), 422, "unprocessable", says)
        self.problem(self.server.post_form("/v1/segment", {"image": SAMPLE, "prompt": "[]"}), 422, "unprocessable", "prompt")
        self.problem(self.server.segment(DOG, image=SAMPLE[:5000]), 422, "unprocessable")

    def test_thresholds_of_a_form(self):
        for text in ("NaN", "1e999", "0.5abc", "0.5\0abc", "-0.1", "1.1", "0x1", "true"):
            self.problem(self.server.segment(DOG, threshold=text), 422, "unprocessable", "threshold")

    def test_boxes_that_make_no_sense(self):
        far = [{"boxes": [{"box": [1e6, 1e6, 2e6, 2e6]}]}]
        self.problem(self.server.segment(far), 422, "unprocessable", "leaves the image")
        self.problem(self.server.segment([{"boxes": [{"box": [0, 0, 9, 9]}] * 1000}]), 422, "unprocessable", "at most 256")

    def test_media(self):
        packed = self.server.request("POST", "/v1/segment", b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"})
        self.problem(packed, 415, "unsupported-media", "Content-Encoding")
        self.problem(self.server.request("POST", "/v1/segment", b"x", {"Content-Type": "text/plain"}), 415, "unsupported-media")
        self.problem(self.server.request("POST", "/v1/segment", b"x"), 415, "unsupported-media")
        self.problem(self.server.segment(DOG, image=b"GIF89a and more bytes"), 415, "unsupported-media")

    def test_too_large(self):
        self.problem(self.server.segment(DOG, image=bytes(1_100_000)), 413, "too-large", "max_body_bytes")
        self.problem(self.server.segment(DOG, image=harness.png(6000, 5000)), 413, "too-large", "limit of 20000000")
        connection = self.server.connect()  # nobody said how long it will be
        connection.request("POST", "/v1/images", iter([bytes(100_000)] * 12), {"Content-Type": "image/png"}, encode_chunked=True)
        self.problem(harness.Answer(connection.getresponse()), 413, "too-large")
        connection.close()

    def test_a_huge_body_is_not_read(self):
        with self.server.socket() as s:
            s.sendall(b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 99999999999\r\n\r\n")
            self.assertIn(b" 413 ", s.recv(100))
        with self.server.socket() as s:
            s.sendall(b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: image/png\r\n"
                      b"Content-Length: 2000000\r\n\r\n")
            self.assertIn(b" 413 ", s.recv(100))

    def test_not_found_and_methods(self):
        for path in ("/nothing", "/v1", "/v1/jobs/", "/v1/images/a/b", "/web/../src", "/web/none.js", "/samples/none.jpg",
                     "/samples/samples.json", "/samples/%2e%2e/concepts.py", "/v1/jobs/" + "a" * 200, "/" + "a" * 3000):
            self.problem(self.server.request("GET", path), 404, "not-found")
        answer = self.server.request("GET", "/v1/segment")
        self.problem(answer, 405, "method-not-allowed")
        self.assertEqual(answer.headers["Allow"], "POST")
        self.assertEqual(self.server.request("DELETE", "/v1/images/x/segment").headers["Allow"], "POST")
        self.assertEqual(self.server.request("PUT", "/v1/images/x").headers["Allow"], "GET, HEAD, DELETE")
        self.problem(self.server.request("OPTIONS", "/v1/segment", headers={"Origin": "http://x"}), 405, "method-not-allowed")

    # ---- the rest ----

    def test_model_devices_samples(self):
        model = self.server.request("GET", "/v1/model").json()
        self.assertEqual(set(model), {"name", "demo", "image_size", "parameters", "dtype", "version", "languages", "vocabulary"})
        self.assertEqual((model["name"], model["demo"], model["image_size"]), ("tiny", False, 210))
        self.assertGreater(model["parameters"], 1_000_000)
        stats = self.server.stats()
        self.assertEqual(stats["parallel"], "threads")
        self.assertEqual(len(stats["workers"]), 1)
        samples = self.server.request("GET", "/v1/samples").json()
        self.assertIn({"name": "sea", "url": "/samples/sea.jpg", "phrases": ["fish", "turtle", "boat"]}, samples)
        for sample in samples:
            answer = self.server.request("GET", sample["url"])
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "image/jpeg"))
        self.assertEqual(self.server.request("GET", "/samples/sea.jpg").body, SAMPLE)

    def test_health_and_metrics(self):
        self.assertEqual(self.server.request("GET", "/healthz").body, b"ok\n")
        self.assertEqual(self.server.request("HEAD", "/healthz").body, b"")
        self.assertEqual(self.server.request("GET", "/readyz").status, 200)
        self.server.segment(DOG)
        text = self.server.request("GET", "/metrics").body.decode()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        self.assertGreaterEqual(float(values['sam3_requests_total{outcome="done"}']), 1)
        self.assertEqual(float(values['sam3_worker_up{device="cpu"}']), 1)
        for name in values:
            self.assertIn(f"# TYPE {name.split('{')[0]} ", text)

    def test_page_and_description(self):
        page = self.server.request("GET", "/")
        self.assertEqual((page.status, page.headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertEqual(self.server.request("GET", "/web/index.html").body, page.body)
        again = self.server.request("GET", "/", headers={"If-None-Match": page.headers["ETag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"):
            self.assertTrue(page.headers[name], name)
        self.assertIn("default-src 'self'", page.headers["Content-Security-Policy"])
        self.assertNotIn("unsafe", page.headers["Content-Security-Policy"])
        api = self.server.request("GET", "/openapi.json").json()
        self.assertEqual(api, API)
        self.assertTrue(api["openapi"].startswith("3.1"))
        table = [row.split("|")[2] for row in (harness.ROOT / "docs/server.md").read_text().splitlines() if row.startswith("| 4") or row.startswith("| 500")]
        self.assertEqual(sorted("/problems/" + name for name in re.findall("`([a-z-]+)`", "".join(table))), sorted(PROBLEMS))
        # What is described answers, with another status than 404 for the route itself.
        for path, methods in api["paths"].items():
            for method in set(methods) & {"get", "post", "delete"}:
                answer = self.server.request("OPTIONS", path.replace("{id}", "x").replace("{name}", "x"))
                self.assertEqual(answer.status, 405, path)
                self.assertIn(method.upper(), answer.headers["Allow"], path)

    def test_jobs(self):
        image = self.server.upload()
        job = self.server.start_job(image, DOG, threshold=0)
        events = list(self.server.events(job))
        self.assertEqual(events[0][0], "queued")
        self.assertEqual(events[-1][0], "done")
        state = self.server.request("GET", "/v1/jobs/" + job).json()
        self.assertEqual(state["state"], "done")
        self.assertEqual(state["result"], events[-1][1])
        self.assertEqual(list(self.server.events(job))[-1], events[-1])
        self.assertEqual(self.server.request("DELETE", "/v1/jobs/" + job).status, 204)
        self.problem(self.server.request("GET", "/v1/jobs/" + job), 404, "not-found")
        self.problem(self.server.request("GET", f"/v1/jobs/{job}/events"), 404, "not-found")
        self.problem(self.server.request("DELETE", "/v1/jobs/" + job), 404, "not-found")
        answer = self.server.segment(DOG, headers={"Prefer": "respond-async"})
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.json()["events"], f"/v1/jobs/{answer.json()['job']}/events")

    def test_keep_alive_after_errors(self):
        connection = self.server.connect()
        for _ in range(3):
            connection.request("POST", "/v1/segment", b"{}", {"Content-Type": "application/json"})
            self.assertEqual(harness.Answer(connection.getresponse()).status, 422)
            connection.request("GET", "/v1/model")
            self.assertEqual(harness.Answer(connection.getresponse()).status, 200)
        connection.close()


if __name__ == "__main__":
    unittest.main()
