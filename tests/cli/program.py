"""What the tests of the program share: SCRIPT PROGRAM DIRECTORY, which the script's own arguments follow."""
import fcntl
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ROOT / "tests" / "e2e" / "images"
STREET, EXIF = IMAGES / "street.jpg", IMAGES / "exif.jpg"
PROGRAM, BUILD = (pathlib.Path(sys.argv.pop(1)).resolve() for _ in range(2))
MODEL, META = BUILD / "ash", BUILD / "ash.pt"
with open(BUILD / "models.lock", "w") as lock:  # scripts run side by side
    fcntl.flock(lock, fcntl.LOCK_EX)
    for made, layout in ((MODEL, "plain"), (META, "official")):
        if not made.exists():
            make = ROOT / "tools" / "reference" / "make_model.py"
            subprocess.run([sys.executable, make, made, "--preset", "ash", "--layout", layout], check=True)


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(dir=BUILD)
        self.cwd = pathlib.Path(self.directory.name)

    def tearDown(self):
        self.directory.cleanup()

    def environment(self, model=MODEL):
        environment = {"PATH": os.environ["PATH"], **({"SAM3_MODEL": str(model)} if model else {})}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        return environment

    def run_program(self, *arguments, model=MODEL, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.cwd, env=self.environment(model), text=True,
                              timeout=120, **options)

    def start(self, *arguments, **options):
        return subprocess.Popen([PROGRAM, *map(str, arguments)], cwd=self.cwd, env=self.environment(), text=True,
                                **options)

    def check(self, code, *arguments, says=(), **options):
        result = self.run_program(*arguments, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, result.stderr)
        if code != 0:
            self.assertTrue(result.stderr.strip(), "failed without a word")
        return result

    def files(self):
        return sorted(str(p.relative_to(self.cwd)) for p in self.cwd.rglob("*") if p.is_file())
