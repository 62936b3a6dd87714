#!/usr/bin/env python3
"""Makes files part of the program: an assembler file with their bytes, and a C table of name, type, size and hash.

embed.py DATA.S TABLE.c DEPFILE WEB_FOLDER FILE...
"""
import hashlib
import json
import sys
from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2",
         ".json": "application/json", ".tsv": "text/tab-separated-values; charset=utf-8"}

data_path, table_path, depfile = map(Path, sys.argv[1:4])
web = Path(sys.argv[4])
files = sorted(p for p in web.iterdir() if p.suffix in TYPES and p.suffix != ".json") if web.is_dir() else []
assets = [("web/" + p.name, p) for p in files] + [(Path(p).name, Path(p)) for p in sys.argv[5:]]

data = ["/* Made by embed.py. */", "        .section .rodata"]
table = ["/* Made by embed.py. */", '#include "serve/assets.h"', ""]
rows = []
for i, (name, path) in enumerate(assets):
    content = path.read_bytes()
    data += [f"        .globl  asset_{i}", f"        .hidden asset_{i}", f"asset_{i}:",
             f"        .incbin {json.dumps(str(path.resolve()))}"]
    table.append(f"extern const char asset_{i}[];")
    tag = hashlib.sha256(content).hexdigest()[:16]
    rows.append(f'    {{{json.dumps(name)}, "{TYPES[path.suffix]}", asset_{i}, {len(content)}, "\\"{tag}\\""}},')
data += ['        .section .note.GNU-stack,"",%progbits', ""]
table += ["", "const struct asset all_assets[] = {", *rows, "};",
          "const size_t n_all_assets = sizeof all_assets / sizeof *all_assets;", ""]
data_path.write_text("\n".join(data), encoding="utf-8")
table_path.write_text("\n".join(table), encoding="utf-8")
inputs = [web] * web.is_dir() + [p for _, p in assets]
depfile.write_text(f"{data_path} {table_path}: " + " ".join(str(p) for p in inputs) + "\n", encoding="utf-8")
