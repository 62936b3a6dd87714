#!/usr/bin/env python3
"""Includes go one way: each room of src/ includes only rooms below it, and the program
and its server stand on sam3.h, the server on base as well."""
import pathlib
import re
import sys

BELOW = {
    "base": set(),
    "image": {"base"},
    "text": {"base"},
    "weights": {"base"},
    "backend": {"base"},
    "model": {"backend", "weights", "base"},
    "engine": {"model", "backend", "weights", "text", "image", "base"},
    "serve": {"base"},
    "cli": {"serve"},
}
# Rooms inside backend/ know one another only through device.h.
SEALED = {"backend/ref", "backend/cpu", "backend/cuda"}

src = pathlib.Path(sys.argv[1]) / "src"
wrong, seen = [], 0
for path in sorted(p for p in src.rglob("*") if p.suffix in (".c", ".h", ".cu", ".inc", ".S")):
    inside = path.relative_to(src)
    room = inside.parts[0]
    if room not in BELOW:
        wrong.append(f"{path}: the room {room} is not in the table of {sys.argv[0]}")
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not found or found[1] == "sam3.h":
            continue
        seen += 1
        target = found[1].split("/")
        if len(target) == 1 and (path.parent / found[1]).exists():
            continue
        if target[0] != room and target[0] not in BELOW[room]:
            wrong.append(f"{path}:{number}: {room} must not include {found[1]}")
        mine, other = "/".join(inside.parts[:2]), "/".join(target[:2])
        if other in SEALED and mine in SEALED and other != mine:
            wrong.append(f"{path}:{number}: {mine} must not include {found[1]}")
print(*wrong, f"{seen} includes between rooms checked", sep="\n")
sys.exit(bool(wrong) or not seen)
