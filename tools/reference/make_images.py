#!/usr/bin/env python3
"""Makes the other images of the end-to-end tests from the photograph: make_images.py tests/e2e/images

Small and of every kind that a decoder must tell apart. Needs numpy and Pillow.
"""
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def write_png16(path, pixels):
    """uint16 [h, w, 3] as a PNG of 16 bit a channel, which Pillow cannot write."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def main(folder):
    folder = Path(folder)
    street = Image.open(folder / "street.jpg").convert("RGB")

    def small(width, height):
        return street.resize((width, height), Image.BICUBIC)

    small(320, 240).save(folder / "small.jpg", quality=80)
    small(240, 180).convert("L").save(folder / "grey.jpg", quality=75, progressive=True)

    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn right to see it
    small(240, 180).transpose(Image.ROTATE_90).save(folder / "exif.jpg", quality=75, exif=exif)

    rgba = np.dstack([np.asarray(small(120, 90)), np.linspace(0, 255, 120).astype(np.uint8)[None].repeat(90, 0)])
    Image.fromarray(rgba, "RGBA").save(folder / "alpha.png", optimize=True)

    palette = small(160, 120).quantize(32, dither=Image.Dither.NONE)
    palette.save(folder / "palette.png", optimize=True, transparency=3)

    random = np.random.RandomState(3)
    deep = np.asarray(small(80, 60)).astype(np.uint16) * 256 + random.randint(0, 256, (60, 80, 3)).astype(np.uint16)
    write_png16(folder / "deep.png", deep)
    Image.fromarray(deep[..., 1]).save(folder / "deep-grey.png")

    small(200, 150).save(folder / "lossy.webp", quality=70)
    small(23, 17).save(folder / "tiny.png")
    Image.new("RGB", (1, 1), (90, 140, 60)).save(folder / "pixel.png")
    street.crop((0, 130, 640, 400)).resize((1900, 800), Image.LANCZOS).save(folder / "large.jpg", quality=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
