#!/usr/bin/env python3
"""Makes a checkpoint of the true architecture with random weights, the same on every machine. Needs numpy.

  make_model.py OUT --preset ash [--seed 1] [--layout plain] [--dtype f32] [--shards N]
  make_model.py OUT --config config.json ...

Layouts:
  plain     OUT/ with config.json and model.safetensors, as Sam3Model.save_pretrained writes them
  hub       the same with facebook/sam3's prefixes and config, and tensors of the tracker that are to be ignored
  lone      OUT is the .safetensors file; config.json beside it
  official  OUT is a file like Meta's sam3.pt; config.json beside it (--torch-save: written by torch itself)

Prints the sha256 over the float32 values, before they are rounded to the stored dtype.
"""
import argparse
import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np

import containers
import official_names
import presets
import tensors


def digest(shapes, seed):
    h = hashlib.sha256()
    for name in sorted(shapes):
        h.update(name.encode() + b"\0" + tensors.values(name, shapes[name], seed).tobytes())
    return h.hexdigest()


def make(out, cfg, seed=1, layout="plain", dtype="f32", shards=1, torch_save=False):
    """Writes the checkpoint."""
    out = Path(out)
    shapes = tensors.shapes(cfg)
    folder = out if layout in ("plain", "hub") else out.parent
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "official":
        write_official(out, cfg, shapes, seed, dtype, torch_save)
    else:
        prefix = "detector_model." if layout == "hub" else ""
        stored = {prefix + name: shape for name, shape in shapes.items()}
        if layout == "hub":
            dim = cfg["detr_encoder_config"]["hidden_size"]
            stored["tracker_neck.fpn_layers.0.proj1.bias"] = (dim,)
            stored["tracker_model.no_memory_embedding"] = (1, 1, dim)
            cfg = presets.hub_config(cfg)

        def value(name):
            return tensors.values(name[len(prefix):] if name.startswith(prefix) else name, stored[name], seed)

        if shards > 1:
            containers.write_sharded(out, stored, value, dtype, shards)
        else:
            file = out if layout == "lone" else out / "model.safetensors"
            containers.write_safetensors(file, stored, value, dtype)
    (folder / "config.json").write_text(json.dumps(cfg, indent=1) + "\n", encoding="utf-8")


def write_official(out, cfg, shapes, seed, dtype, torch_save):
    state = official_names.official_tensors({n: tensors.values(n, s, seed) for n, s in shapes.items()})
    state = {n: containers.to_dtype(v, dtype) for n, v in state.items()}
    state.update(official_names.extras(cfg))
    if not torch_save:
        containers.write_torch(out, state)
        return
    import torch
    as_torch = {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in state.items()}
    if dtype == "bf16":
        as_torch = {n: t.view(torch.bfloat16) if t.dtype == torch.uint16 else t for n, t in as_torch.items()}
    torch.save({"model": as_torch}, out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--preset", choices=presets.PRESETS)
    ap.add_argument("--config", help="a config.json instead of a preset")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--layout", choices=("plain", "hub", "lone", "official"), default="plain")
    ap.add_argument("--dtype", choices=containers.DTYPES, default="f32")
    ap.add_argument("--shards", type=int, default=1)
    ap.add_argument("--torch-save", action="store_true")
    ap.add_argument("--sha256", help="fail unless the values are these")
    a = ap.parse_args()
    if (a.preset is None) == (a.config is None):
        ap.error("give --preset or --config")
    if a.shards > 1 and a.layout not in ("plain", "hub"):
        ap.error("--shards goes with the layouts plain and hub")
    cfg = presets.config(a.preset) if a.preset else json.loads(Path(a.config).read_text(encoding="utf-8"))
    shapes = tensors.shapes(cfg)
    sha256 = digest(shapes, a.seed)
    if a.sha256 and a.sha256 != sha256:
        sys.exit(f"{a.out}: sha256 {sha256}, expected {a.sha256}: this numpy makes other numbers")
    make(a.out, cfg, a.seed, a.layout, a.dtype, a.shards, a.torch_save)
    count = sum(math.prod(s) for s in shapes.values())
    print(f"{a.out}: {len(shapes)} tensors, {count / 1e6:.2f} M parameters, sha256 {sha256}")


if __name__ == "__main__":
    main()
