"""Image files as the program sees them: upright, alpha over white, 8 bit. Needs Pillow and numpy."""
import numpy as np
from PIL import Image, ImageOps


def read(path):
    """uint8 [height, width, 3]"""
    img = ImageOps.exif_transpose(Image.open(path))
    if img.mode.startswith("I;16") or img.mode == "I":  # 16-bit grey: the high byte
        img = Image.fromarray((np.asarray(img, np.uint32) >> 8).astype(np.uint8))
    if "A" in img.mode or "transparency" in img.info:
        rgba = np.asarray(img.convert("RGBA"), np.uint32)
        colour, alpha = rgba[..., :3], rgba[..., 3:]
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.asarray(img.convert("RGB"))
