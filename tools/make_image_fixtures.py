#!/usr/bin/env python3
"""Makes tests/image/fixtures and the seeds of tests/fuzz/corpus/image: small images with the pixels that Pillow reads
from them, and what torch and pycocotools make of resizes and masks.

    pip install pillow numpy torch pycocotools
    tools/make_image_fixtures.py
"""
import io
import pathlib
import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageOps
from pycocotools import mask as coco

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/image/fixtures"
SEEDS = ROOT / "tests/fuzz/corpus/image"
F = torch.nn.functional


class Lcg:
    """The random numbers of tests/image/fixture.c."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 33

    def array(self, *shape):
        return np.array([self.next() for _ in range(int(np.prod(shape)))]).reshape(shape)


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


# ------------------------------------------------------------------------------------------- images


def photo(width, height, channels=3, seed=1):
    """Smooth colour with some noise."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    planes = [128 + 100 * np.sin(x / (3 + c) + y / (5 - c / 2) + c) + rng.normal(0, 8, x.shape) for c in range(channels)]
    return np.clip(np.dstack(planes), 0, 255).astype(np.uint8)


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def over_white(rgba):
    out = Image.new("RGB", rgba.size, "white")
    out.paste(rgba, mask=rgba.getchannel("A"))
    return np.asarray(out)


def as_pillow(data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if "A" in image.getbands() or "transparency" in image.info:
        return over_white(image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def png(samples, depth, color_type, interlaced=False, chunks=()):
    """A PNG by hand, for what Pillow does not write. `samples`: [height, width, channels] of `depth` bits."""
    height, width, _ = samples.shape

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def rows(part):
        for row in part:
            if depth == 16:
                yield b"\0" + row.astype(">u2").tobytes()
            else:
                bits = (row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1
                yield b"\0" + np.packbits(bits.reshape(-1)).tobytes()

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [samples]
    raw = b"".join(row for part in parts if part.size for row in rows(part))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced))
            + b"".join(chunk(name, data) for name, data in chunks) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def images():
    """name -> (bytes, expected pixels)"""
    a = photo(29, 21)
    rgb = Image.fromarray(a)
    rgba = Image.fromarray(photo(29, 21, 4))
    cmyk = Image.fromarray(photo(29, 21, 4, 2), "CMYK")
    files = {
        "base.jpg": saved(rgb, "jpeg", quality=85),
        "444.jpg": saved(rgb, "jpeg", quality=95, subsampling=0),
        "422.jpg": saved(rgb, "jpeg", quality=60, subsampling=1),
        "progressive.jpg": saved(rgb, "jpeg", quality=85, progressive=True),
        "restart.jpg": saved(rgb, "jpeg", quality=85, restart_marker_blocks=1),
        "grey.jpg": saved(rgb.convert("L"), "jpeg"),
        "cmyk.jpg": saved(cmyk, "jpeg", quality=90),
        "rgb_components.jpg": saved(rgb, "jpeg", keep_rgb=True),
        "one_pixel.jpg": saved(rgb.crop((0, 0, 1, 1)), "jpeg"),
        "rgb.png": saved(rgb, "png"),
        "rgba.png": saved(rgba, "png"),
        "grey.png": saved(rgb.convert("L"), "png"),
        "grey_alpha.png": saved(rgba.convert("LA"), "png"),
        "black_white.png": saved(rgb.convert("1"), "png"),
        "palette_alpha.png": saved(rgb.quantize(16), "png", transparency=bytes(range(0, 256, 17))),
        "rgb_key.png": saved(rgb, "png", transparency=tuple(int(v) for v in a[5, 5])),
        "lossy.webp": saved(rgb, "webp", quality=80),
        "lossless.webp": saved(rgb, "webp", lossless=True),
        "alpha_lossy.webp": saved(rgba, "webp", quality=80),
        "alpha_lossless.webp": saved(rgba, "webp", lossless=True, exact=True),
        "animated.webp": saved(rgba, "webp", save_all=True, append_images=[rgba.rotate(180)], lossless=True, exact=True),
    }
    for bits in (1, 2, 4, 8):
        files[f"palette{bits}.png"] = saved(rgb.quantize(2**bits), "png", bits=bits)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif[0x010E] = "a description before it"
        files[f"exif{orientation}.jpg"] = saved(rgb, "jpeg", exif=exif)
    files["exif6.png"] = saved(rgb, "png", exif=exif_of(6))
    files["exif8.webp"] = saved(rgb, "webp", lossless=True, exif=exif_of(8))
    expected = {name: (data, as_pillow(data)) for name, data in files.items()}

    # Inverted by Adobe's marker, YCCK: as Pillow has no writer for it, the marker of cmyk.jpg is changed.
    ycck = files["cmyk.jpg"].replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")
    assert ycck != files["cmyk.jpg"]
    expected["ycck.jpg"] = (ycck, as_pillow(ycck))

    # 16 bits by the high byte, fewer bits spread over the full range, transparency over white: exact arithmetic here,
    # as Pillow has other rules for 16 bits.
    wide = Lcg(3).array(11, 13, 4) % 65536
    high = (wide >> 8).astype(np.uint8)
    grey = np.repeat(high[..., :1], 3, 2)
    expected["rgb16.png"] = (png(wide[..., :3], 16, 2), high[..., :3])
    expected["rgb16_interlaced.png"] = (png(wide[..., :3], 16, 2, True), high[..., :3])
    expected["grey16.png"] = (png(wide[..., :1], 16, 0), grey)
    expected["rgba16.png"] = (png(wide, 16, 6), over_white(Image.fromarray(high)))
    expected["grey16_alpha.png"] = (png(wide[..., :2], 16, 4), over_white(Image.fromarray(np.dstack([grey, high[..., 1]]))))
    key = struct.pack(">H", int(wide[0, 0, 0]))
    keyed = np.dstack([grey, np.where(wide[..., 0] == wide[0, 0, 0], 0, 255).astype(np.uint8)])
    expected["grey16_key.png"] = (png(wide[..., :1], 16, 0, chunks=[(b"tRNS", key)]), over_white(Image.fromarray(keyed)))
    for depth in (1, 2, 4, 8):
        few = wide[..., :1] >> (16 - depth)
        spread = np.repeat(few * 255 // (2**depth - 1), 3, 2).astype(np.uint8)
        expected[f"grey{depth}_interlaced.png"] = (png(few, depth, 0, True), spread)
    eight = wide[..., :3] >> 8
    expected["rgb_interlaced.png"] = (png(eight, 8, 2, True), eight.astype(np.uint8))
    return expected


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def write_images():
    expected = images()
    for name, (data, pixels) in expected.items():
        (OUT / name).write_bytes(data)
        (OUT / f"{name}.rgb").write_bytes(struct.pack("<ii", pixels.shape[1], pixels.shape[0]) + pixels.tobytes())
    (OUT / "images.txt").write_text("".join(f"{name}\n" for name in expected))
    for name in ("progressive.jpg", "cmyk.jpg", "exif6.jpg", "rgba16.png", "palette_alpha.png", "rgb_interlaced.png",
                 "animated.webp", "alpha_lossy.webp", "exif8.webp"):
        (SEEDS / name).write_bytes(expected[name][0])
    rgb = Image.fromarray(photo(29, 21))
    for form in ("gif", "bmp", "tiff", "jpeg2000"):
        (OUT / f"refused.{form}").write_bytes(saved(rgb, form))


# ---------------------------------------------------------------------------------- resizes and masks


def write_resizes():
    """width height size hash: of Lcg(width * 1000 + height) % 256 resized to a square."""
    cases = [(1, 1, 1), (1, 1, 7), (1, 9, 4), (9, 1, 4), (2, 3, 33), (16, 16, 16), (16, 40, 16), (40, 16, 16), (17, 16, 15),
             (31, 47, 97), (64, 48, 32), (97, 61, 31), (200, 3, 10), (3, 200, 10), (255, 257, 128), (300, 200, 299)]
    lines = []
    for width, height, size in cases:
        pixels = (Lcg(width * 1000 + height).array(height, width, 3) % 256).astype(np.uint8)
        # Contiguous planes: torch's other layout fails on some 1-pixel sizes.
        planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
        out = F.interpolate(planes, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        lines.append(f"{width} {height} {size} {fnv(out[0].permute(1, 2, 0).numpy().tobytes()):016x}\n")
    (OUT / "resizes.txt").write_text("".join(lines))


def logits_of(kind, height, width):
    """The same exact numbers as logits_of() of tests/image/test_mask.c."""
    if kind == "noise":
        return (Lcg(height * 1000 + width).array(height, width) % 1024 - 512).astype(np.float32) / 64
    y, x = np.mgrid[:height, :width]
    disc = (height * width // 8 - (2 * x - width) ** 2 // 4 - (2 * y - height) ** 2 // 4).astype(np.float32) / 64
    return disc if kind == "disc" else disc * np.float32(2.0**-26)  # "faint": around the rounding of sigmoid


def write_masks():
    """kind h w height width area counts"""
    sizes = [(1, 1, 5, 7), (8, 8, 1, 1), (9, 7, 9, 7), (9, 7, 40, 31), (40, 31, 9, 7), (24, 24, 100, 17), (24, 24, 17, 100),
             (72, 72, 3, 300), (72, 72, 300, 3), (36, 36, 131, 157), (12, 50, 50, 12)]
    lines = []
    for kind in ("disc", "noise", "faint"):
        for h, w, height, width in sizes:
            logits = torch.from_numpy(logits_of(kind, h, w))[None, None]
            mask = (F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False).sigmoid() > 0.5)[0, 0]
            rle = coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            lines.append(f"{kind} {h} {w} {height} {width} {int(mask.sum())} {rle['counts'].decode()}\n")
    (OUT / "masks.txt").write_text("".join(lines))


def write_rles():
    """width height x y w h area counts: masks of Lcg noise, thinned and grown, as pycocotools codes them"""
    lines = []
    for seed, (width, height) in enumerate([(1, 1), (1, 9), (9, 1), (13, 11), (40, 30), (7, 64), (250, 3), (33, 33)]):
        for share in (0, 60, 128, 256):
            noise = Lcg(seed).array(height, width) % 256
            mask = np.asfortranarray((noise < share).astype(np.uint8))
            rle = coco.encode(mask)
            box = " ".join(str(int(v)) for v in coco.toBbox(rle))
            lines.append(f"{width} {height} {share} {box} {int(coco.area(rle))} {rle['counts'].decode()}\n")
    # The longest numbers there are: a run of 2 ** 32 - 1 pixels.
    counts = coco.frPyObjects({"size": [65535, 65537], "counts": [0, 2**32 - 1]}, 65535, 65537)["counts"].decode()
    (OUT / "rles.txt").write_text("".join(lines))
    (OUT / "longest_run.txt").write_text(counts)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    SEEDS.mkdir(parents=True, exist_ok=True)
    write_images()
    write_resizes()
    write_masks()
    write_rles()
