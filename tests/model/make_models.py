#!/usr/bin/env python3
"""Makes the models of the stage tests: make_models.py STAMP FIXTURES -> <preset>.safetensors beside STAMP"""
import json
import subprocess
import sys
from pathlib import Path

stamp, fixtures = map(Path, sys.argv[1:])
make = fixtures.resolve().parents[2] / "tools" / "reference" / "make_model.py"
for info in sorted(fixtures.glob("*/model.json")):
    model = json.loads(info.read_text())
    out = stamp.parent / (model["preset"] + ".safetensors")
    subprocess.run([sys.executable, make, out, "--config", info.parent / "config.json", "--seed", str(model["seed"]),
                    "--layout", "lone", "--sha256", model["sha256"]], check=True)
stamp.touch()
