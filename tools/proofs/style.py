#!/usr/bin/env python3
"""Files stay under 800 lines, and are formatted as .clang-format says."""
import pathlib
import shutil
import subprocess
import sys

LIMIT = 800
# File: why it may be longer.
LONG = {
}
# Other versions of clang-format differ in details.
FORMATTER = "14."

root = pathlib.Path(sys.argv[1])
ours = [p for d in ("src", "include", "tests", "docs", "bench", "tools", "models") for p in sorted((root / d).rglob("*"))
        if "node_modules" not in p.parts]
code = [p for p in ours if p.suffix in (".c", ".h")]
wrong = []
for path in [p for p in ours if p.suffix in (".c", ".h", ".py", ".sh", ".js", ".css", ".cu")]:
    lines = path.read_text().count("\n")
    if lines >= LIMIT and str(path.relative_to(root)) not in LONG:
        wrong.append(f"{path}: {lines} lines")
wrong += [f"{name}: is in the list of long files, but is not one" for name in LONG
          if not (root / name).exists() or (root / name).read_text().count("\n") < LIMIT]
formatter = shutil.which("clang-format")
if formatter and f"version {FORMATTER}" in subprocess.run([formatter, "--version"], capture_output=True, text=True).stdout:
    check = subprocess.run([formatter, "--dry-run", "--Werror", *code], capture_output=True, text=True, cwd=root)
    if check.returncode:
        wrong.append(check.stderr)
else:
    print(f"clang-format {FORMATTER}* is not here: formatting not checked")
print(*wrong, f"{len(code)} files of C checked", sep="\n")
sys.exit(bool(wrong) or not code)
