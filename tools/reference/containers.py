"""Checkpoint files, written and read with numpy alone: safetensors, and the zip and pickle of torch.save.

bf16 has no numpy type: it is kept as the upper half of a float32 in uint16.
"""
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np

DTYPES = {"f32": ("F32", 4), "f16": ("F16", 2), "bf16": ("BF16", 2)}


def to_dtype(values, dtype):
    """float32 values as they are stored; rounds to nearest, ties to even."""
    if dtype == "f32":
        return values
    if dtype == "f16":
        return values.astype(np.float16)
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(path, shapes, make, dtype="f32"):
    """Writes make(name) of every name of shapes {name: shape}; one tensor at a time is in memory."""
    code, size = DTYPES[dtype]
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = offset + int(np.prod(shape)) * size
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in shapes:
            f.write(np.ascontiguousarray(to_dtype(make(name), dtype)).tobytes())


def write_sharded(folder, shapes, make, dtype, parts):
    """The same in `parts` files with model.safetensors.index.json; names go to the parts in turn."""
    names, weight_map = list(shapes), {}
    for i in range(parts):
        file = f"model-{i + 1:05d}-of-{parts:05d}.safetensors"
        part = {n: shapes[n] for n in names[i::parts]}
        write_safetensors(Path(folder) / file, part, make, dtype)
        weight_map.update(dict.fromkeys(part, file))
    total = sum(int(np.prod(s)) for s in shapes.values()) * DTYPES[dtype][1]
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (Path(folder) / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def read_safetensors(path):
    """{name: float32 array}; float32 tensors are views of the mapped file."""
    data = np.memmap(path, np.uint8, "r")
    n = int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8:8 + n]))
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        raw = data[8 + n + a:8 + n + b]
        if t["dtype"] == "F32":
            v = raw.view("<f4")
        elif t["dtype"] == "F16":
            v = raw.view("<f2").astype(np.float32)
        elif t["dtype"] == "BF16":
            v = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            raise ValueError(f"{path}: {name} has dtype {t['dtype']}")
        out[name] = v.reshape(t["shape"])
    return out


def read_checkpoint(folder):
    """(detector's config dict, {name without prefix: float32 array}) of a Hugging Face directory."""
    folder = Path(folder)
    cfg = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    index = folder / "model.safetensors.index.json"
    files = ["model.safetensors"]
    if index.exists():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    tensors = {}
    for file in files:
        tensors.update(read_safetensors(folder / file))
    if "detector_config" in cfg:
        cfg, prefix = cfg["detector_config"], "detector_model."
        tensors = {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}
    return cfg, tensors


STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "uint16": "BFloat16Storage",
            "complex64": "ComplexFloatStorage"}


class Pickle:
    """Pickle protocol 2, as torch.save writes it: {"model": OrderedDict of tensors}."""

    def __init__(self):
        self.out = io.BytesIO()
        self.memo = {}

    def op(self, *parts):
        for p in parts:
            self.out.write(p)

    def put(self, key):
        n = self.memo[key] = len(self.memo)
        self.op(b"q" + struct.pack("<B", n) if n < 256 else b"r" + struct.pack("<I", n))

    def get(self, key):
        n = self.memo[key]
        self.op(b"h" + struct.pack("<B", n) if n < 256 else b"j" + struct.pack("<I", n))

    def text(self, s):
        if ("s", s) in self.memo:
            return self.get(("s", s))
        raw = s.encode()
        self.op(b"X", struct.pack("<I", len(raw)), raw)
        self.put(("s", s))

    def name(self, module, attr):
        if ("g", module, attr) in self.memo:
            return self.get(("g", module, attr))
        self.op(f"c{module}\n{attr}\n".encode())
        self.put(("g", module, attr))

    def int(self, n):
        if n < 256:
            self.op(b"K", struct.pack("<B", n))
        elif n < 65536:
            self.op(b"M", struct.pack("<H", n))
        elif n < 2**31:
            self.op(b"J", struct.pack("<i", n))
        else:
            raw = n.to_bytes((n.bit_length() + 8) // 8, "little")
            self.op(b"\x8a", struct.pack("<B", len(raw)), raw)

    def ints(self, numbers):
        self.op(b"(")
        for n in numbers:
            self.int(n)
        self.op(b"t")
        self.put(object())

    def empty_dict(self):
        self.name("collections", "OrderedDict")
        self.op(b")R")
        self.put(object())

    def tensor(self, key, array):
        strides, step = [], 1
        for n in reversed(array.shape):
            strides.insert(0, step)
            step *= n
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.op(b"((")
        self.text("storage")
        self.name("torch", STORAGES[array.dtype.name])
        self.text(key)
        self.text("cpu")
        self.int(array.size)
        self.op(b"t")
        self.put(object())
        self.op(b"Q")
        self.int(0)
        self.ints(array.shape)
        self.ints(strides)
        self.op(b"\x89")
        self.empty_dict()
        self.op(b"t")
        self.put(object())
        self.op(b"R")
        self.put(object())


def write_torch(path, arrays):
    """torch.save({"model": arrays}): arrays {name: stored array}, contiguous."""
    p = Pickle()
    p.op(b"\x80\x02}")
    p.put(object())
    p.text("model")
    p.op(b"}")
    p.put(object())
    p.op(b"(")
    for i, (name, array) in enumerate(arrays.items()):
        p.text(name)
        p.tensor(str(i), array)
    p.op(b"us.")
    stem = Path(path).stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        def add(name, data):
            info = zipfile.ZipInfo(f"{stem}/{name}", (1980, 1, 1, 0, 0, 0))
            # data starts at a multiple of 64: a padding field (id "FB") after the 30 bytes and the name
            gap = -(z.fp.tell() + 30 + len(info.filename) + 4) % 64
            info.extra = b"FB" + struct.pack("<H", gap) + b"Z" * gap
            z.writestr(info, data)

        add("data.pkl", p.out.getvalue())
        add("byteorder", b"little")
        for i, array in enumerate(arrays.values()):
            add(f"data/{i}", np.ascontiguousarray(array).tobytes())
        add("version", b"3\n")
