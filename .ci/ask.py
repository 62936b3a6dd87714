"""Asks a running server for apples in a sample picture, as the page does; fails when there are none: ask.py PORT"""
import json
import sys
import urllib.request
from pathlib import Path

server, picture = f"http://127.0.0.1:{sys.argv[1]}", Path("models/demo/samples/fruit.jpg").read_bytes()


def post(path, body, kind):
    return json.load(urllib.request.urlopen(urllib.request.Request(server + path, body, {"Content-Type": kind}), timeout=30))


page = urllib.request.urlopen(server, timeout=30).read().decode()
assert "<title>" in page, page[:200]
image = post("/v1/images", picture, "image/jpeg")["id"]
answer = post(f"/v1/images/{image}/segment", json.dumps({"prompts": [{"text": "apple"}]}).encode(), "application/json")
found = answer["results"][0]["detections"]
print(f"apples: {len(found)}")
sys.exit(not found)
