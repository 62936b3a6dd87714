"""Runs the tests of the page: run.py units | mock | served PROGRAM

units: pure functions, in node. mock: every feature in a browser, against the mock server, which can fail on demand.
served: in a browser, against the program with the demo model; screenshots are left in build/web-screenshots.
`tools/packages.sh web` installs what they need. Exit status 77: skipped, for the reason told.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def skip(reason):
    print(f"skipped: {reason}; tools/packages.sh web installs it")
    sys.exit(77)


def tests(*files, **environment):
    names = [str(p) for f in files for p in sorted(HERE.glob(f))]
    return subprocess.call(["node", "--test", "--test-concurrency=1", *names], cwd=HERE, env=os.environ | environment)


def browser():
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not Path(chromium).exists():
        skip(f"there is no {chromium} (CHROMIUM names another)")
    if not (HERE / "node_modules" / "playwright-core").exists():
        skip("tests/web/node_modules is not there")
    return {"CHROMIUM": chromium}


def served(program, **environment):
    with tempfile.NamedTemporaryFile() as log:
        server = subprocess.Popen([program, "serve", "--port", "0"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  env={k: v for k, v in os.environ.items() if not k.startswith("SAM3_")})
        try:
            for _ in range(500):
                lines = Path(log.name).read_text().splitlines()
                if any("ready" in line for line in lines):
                    break
                time.sleep(0.02)
            address = next((line.split()[-1] for line in lines if "serving on http" in line), None)
            if address is None or server.poll() is not None:
                sys.exit("the server did not start:\n" + "\n".join(lines))
            return tests("browser/*.test.mjs", SAM3_URL=address, **environment)
        finally:
            server.terminate()
            server.wait(30)


def main():
    if shutil.which("node") is None:
        skip("there is no node")
    kind = sys.argv[1]
    if kind == "units":
        return tests("unit/*.test.mjs")
    environment = browser()
    return tests("browser/page.test.mjs", **environment) if kind == "mock" else served(sys.argv[2], **environment)


if __name__ == "__main__":
    sys.exit(main())
