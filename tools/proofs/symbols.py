#!/usr/bin/env python3
"""libsam3.so exports exactly what sam3.h declares, and imports nothing that prints, exits or aborts."""
import pathlib
import re
import subprocess
import sys

root, library = pathlib.Path(sys.argv[1]), sys.argv[2]
FORBIDDEN = re.compile(r"(v?printf|__v?printf_chk|puts|putchar|perror|psignal|stdout|stderr|v?warnx?|v?errx?|error|"
                       r"v?syslog|_?_?exit|_Exit|quick_exit|abort|__assert_fail|__assert_perror_fail|system)$")


def names(*flags):
    lines = subprocess.run(["nm", "-D", *flags, library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in lines.splitlines()}


declared = set(re.findall(r"^SAM3_API\s[^;(]*?\b(\w+)\s*\(", (root / "include/sam3.h").read_text(), re.M))
exported = names("--defined-only")
wrong = [f"exported, but not declared in sam3.h: {n}" for n in sorted(exported - declared)]
wrong += [f"declared in sam3.h, but not exported: {n}" for n in sorted(declared - exported)]
wrong += [f"not a sam3_ name: {n}" for n in sorted(declared) if not n.startswith("sam3_")]
wrong += [f"the library uses {n}" for n in sorted(names("--undefined-only")) if FORBIDDEN.match(n)]
print(*wrong, f"{len(exported)} exported names", sep="\n")
sys.exit(bool(wrong) or not exported)
