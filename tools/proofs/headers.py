#!/usr/bin/env python3
"""Each header compiles alone, and sam3.h in C++ as well when there is a compiler for it."""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

root, compiler = pathlib.Path(sys.argv[1]), sys.argv[2:]
flags = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-D_GNU_SOURCE", "-I", root / "src",
         "-I", root / "include"]
# What the build defines for the files of a folder.
DEFINED = {"cpu": ["-DVL=4", "-DVARIANT=base", "-Wno-psabi"]}
jobs = [compiler + ["-std=gnu11", "-x", "c"] + flags + DEFINED.get(h.parent.name, []) + [h]
        for h in sorted([*(root / "src").rglob("*.h"), *(root / "include").rglob("*.h")])]
if shutil.which("g++"):
    jobs.append(["g++", "-x", "c++"] + flags + [root / "include/sam3.h"])


def check(command):
    # The header is included from outside, so that "#pragma once in main file" and the like do not disturb.
    text = f'#include "{command[-1]}"\n'
    return subprocess.run(command[:-1] + ["-"], input=text, capture_output=True, text=True)


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    bad = [r.stderr for r in pool.map(check, jobs) if r.returncode]
print(*bad, f"{len(jobs)} headers checked", sep="\n")
sys.exit(bool(bad) or not jobs)
