"""Pictures of single things: emoji from colour fonts, plain shapes, and the same repainted in another colour.

A sprite is a list of mip levels (largest first), each a Pillow image of four premultiplied channels (mode RGBX, so
that Pillow resamples them independently), cropped to what is drawn and at most SIDE pixels long.
"""
import functools
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import concepts as C

SIDE = 136
NOTO = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"


@functools.lru_cache(None)
def _face(path):
    """A drawing function glyph -> RGBA image, for a bitmap colour font (Pillow) or a layered one (FreeType)."""
    font = ImageFont.truetype(path, 109)
    if font.getmask("\u2b50", mode="RGBA").getbbox():
        def draw(glyph):
            im = Image.new("RGBA", (160, 160))
            ImageDraw.Draw(im).text((8, 8), glyph, font=font, embedded_color=True)
            return im
        return draw
    import freetype
    face = freetype.Face(path)
    face.set_pixel_sizes(0, 128)

    def draw(glyph):
        if not face.get_char_index(glyph):
            return Image.new("RGBA", (1, 1))
        face.load_char(glyph, freetype.FT_LOAD_RENDER | freetype.FT_LOAD_COLOR)
        b = face.glyph.bitmap
        if b.pixel_mode != freetype.FT_PIXEL_MODE_BGRA:
            return Image.new("RGBA", (1, 1))
        px = np.array(b.buffer, np.uint8).reshape(b.rows, b.width, 4).astype(np.float32)
        alpha = np.maximum(px[..., 3:], 1)
        rgb = px[..., 2::-1] * 255 / alpha
        return Image.fromarray(np.concatenate([rgb, px[..., 3:]], -1).clip(0, 255).astype(np.uint8), "RGBA")
    return draw


@functools.lru_cache(None)
def glyph(path, char):
    """The emoji as an RGBA image cropped to its ink, or None if the font has no colour picture of it."""
    im = _face(path)(char)
    box = im.getchannel("A").getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 16:
        return None
    return im.crop(box)


def shape(name, colour, style):
    """A plain shape as an RGBA image; style 0..5 chooses filled, outlined or two-toned and its proportions."""
    big, m = 4 * SIDE, 8
    im = Image.new("RGBA", (big, big))
    d = ImageDraw.Draw(im)
    hue, sat, val, floor = C.PALETTE[colour]
    fill = _hsv(hue, 0.85 * sat, floor + (1 - floor) * min(0.9 * val, 1))
    edge = tuple(int(v * (0.6 if style % 2 else 1)) for v in fill)
    lo, hi, mid = m, big - m, big / 2
    wide = 0 if style < 2 else 4 * (style + 2)
    turn = lambda n, r, phase: [(mid + r[i % len(r)] * math.sin(2 * math.pi * i / n + phase),
                                 mid - r[i % len(r)] * math.cos(2 * math.pi * i / n + phase)) for i in range(n)]
    if name == "circle":
        d.ellipse((lo, lo, hi, hi), fill, edge, wide)
    elif name == "square":
        d.rounded_rectangle((lo, lo, hi, hi), (0, 0, 40, 80)[style % 4], fill, edge, wide)
    else:
        if name == "triangle":
            pts = [(mid, lo), (hi, hi * (0.86, 0.95)[style % 2]), (lo, hi * (0.86, 0.95)[style % 2])]
        elif name == "star":
            pts = turn(10, [mid - m, (mid - m) * (0.4, 0.5)[style % 2]], 0)
        else:
            t = np.linspace(0, 2 * np.pi, 120)
            x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
            pts = [(mid + a * (mid - m) / 17, mid - b * (mid - m) / 17) for a, b in zip(x, y)]
        d.polygon(pts, fill)
        if wide:
            d.line(pts + pts[:2], edge, wide, "curve")
    return im.resize((SIDE, SIDE), Image.BOX)


def _hsv(hue, sat, val):
    h = (hue / 60) % 6
    c = val * sat
    x = c * (1 - abs(h % 2 - 1))
    rgb = [(c, x, 0), (x, c, 0), (0, c, x), (0, x, c), (x, 0, c), (c, 0, x)][int(h)]
    return tuple(int(255 * (v + val - c)) for v in rgb)


def repaint(im, colour):
    """An RGBA image with its dominant colour, shades kept, turned into `colour` of the palette."""
    rgb = np.asarray(im, np.float32)[..., :3] / 255
    alpha = np.asarray(im)[..., 3]
    hsv = np.asarray(im.convert("RGB").convert("HSV"), np.float32)
    deg, sat, val = hsv[..., 0] * (360 / 255), hsv[..., 1] / 255, hsv[..., 2] / 255
    strong = (sat > 0.3) & (val > 0.25) & (alpha > 128)
    if strong.sum() < 20:
        return im
    hist = np.bincount((deg[strong] / 10).astype(int) % 36, weights=sat[strong], minlength=36)
    smooth = hist + np.roll(hist, 1) + np.roll(hist, -1)
    centre = smooth.argmax() * 10 + 5
    off = (deg - centre + 180) % 360 - 180
    part = np.clip((40 - np.abs(off)) / 8, 0, 1) * np.clip((sat - 0.15) / 0.15, 0, 1)
    hue, s, v, floor = C.PALETTE[colour]
    new = _hsv_array(hue + 0.25 * off, np.clip(sat * s, 0, 1), np.clip(floor + val * v * (1 if not floor else 1 - floor), 0, 1))
    out = rgb + (new - rgb) * part[..., None]
    return Image.fromarray(np.dstack([(out * 255).clip(0, 255).astype(np.uint8), alpha]), "RGBA")


def _hsv_array(deg, sat, val):
    k = (np.array([5, 3, 1]) + (deg / 60)[..., None]) % 6
    return val[..., None] * (1 - sat[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1))


def mips(im):
    """The sprite of an RGBA image."""
    im = im.resize([max(2, round(s * SIDE / max(im.size))) for s in im.size], Image.BICUBIC) if max(im.size) > SIDE else im
    a = np.asarray(im).astype(np.float32)
    a[..., :3] *= a[..., 3:] / 255
    top = Image.frombytes("RGBX", im.size, a.astype(np.uint8).tobytes())
    out = [top]
    while min(out[-1].size) > 12:
        out.append(top.resize([max(2, s >> len(out)) for s in top.size], Image.BOX))
    return out


@functools.lru_cache(4000)
def sprite(font, char, colour=None):
    """The sprite of an emoji, repainted if a colour is given; None if the font lacks it."""
    im = glyph(font, char)
    return im and mips(repaint(im, colour) if colour else im)


@functools.lru_cache(1000)
def shape_sprite(name, colour, style):
    return mips(shape(name, colour, style))
