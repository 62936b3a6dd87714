"""Backgrounds without things in them: float32 [height, width, 3] in 0..1, from a random.Random alone."""
import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw


def colour(rng, calm=True):
    """A random RGB colour; calm ones are pale or dull more often than bright."""
    sat = rng.random() ** (1.6 if calm else 0.8)
    return np.array(colorsys.hsv_to_rgb(rng.random(), sat * 0.85, rng.uniform(0.15, 1) ** 0.7), np.float32)


def noise(rng, width, height, first=3, octaves=5, fall=0.55):
    """Smooth noise [height, width] in 0..1: octaves of random grids, each twice as fine and `fall` as strong."""
    g = np.random.default_rng(rng.getrandbits(32))
    out, weight = np.zeros((height, width), np.float32), 1.0
    for o in range(octaves):
        n = first << o
        grid = Image.fromarray(g.random((min(n, height), min(n, width)), np.float32))
        out += weight * np.asarray(grid.resize((width, height), Image.BICUBIC))
        weight *= fall
    out -= out.min()
    return out / max(out.max(), 1e-6)


def mix(t, a, b):
    """Colours a to b by t [height, width]."""
    return a + (b - a) * t[..., None]


def grid(width, height):
    return np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))


def plain(rng, w, h):
    return np.broadcast_to(colour(rng), (h, w, 3)).copy()


def gradient(rng, w, h):
    x, y = grid(w, h)
    a = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.7:
        t = x * math.cos(a) + y * math.sin(a)
    else:
        t = np.hypot(x - rng.random(), y - rng.random())
    t = (t - t.min()) / (t.max() - t.min())
    return mix(t, colour(rng), colour(rng))


def clouds(rng, w, h):
    return mix(noise(rng, w, h, rng.choice((2, 3, 6, 12)), rng.randrange(2, 6), rng.uniform(0.4, 0.9)), colour(rng), colour(rng))


def stripes(rng, w, h):
    x, y = grid(w, h)
    a, f = rng.uniform(0, math.pi), rng.uniform(3, 30)
    t = np.sin((x * math.cos(a) + y * math.sin(a)) * f * 2 + 3 * rng.random() * noise(rng, w, h, 2, 2))
    return mix(t * 0.5 + 0.5 if rng.random() < 0.5 else (t > 0).astype(np.float32), colour(rng), colour(rng))


def tiles(rng, w, h):
    x, y = grid(w, h)
    n = rng.uniform(3, 16)
    if rng.random() < 0.5:
        t = ((np.floor(x * n) + np.floor(y * n * h / w)) % 2).astype(np.float32)
    else:                                               # bricks: light joints, each row shifted
        row = np.floor(y * n)
        u, v = (x * n / 2 + 0.5 * (row % 2)) % 1, (y * n) % 1
        t = ((u < 0.06) | (v < 0.1)).astype(np.float32)
    return mix(t, colour(rng), colour(rng)) * (0.8 + 0.2 * noise(rng, w, h, 8, 3))[..., None]


def land(rng, w, h):
    """Sky over hills."""
    x, y = grid(w, h)
    out = mix(y, np.array([0.35, 0.6, 0.95], np.float32) * rng.uniform(0.5, 1.05), np.array([0.85, 0.92, 1], np.float32) * rng.uniform(0.7, 1))
    for k in range(rng.randrange(1, 4)):
        line = rng.uniform(0.35, 0.8) + 0.12 * np.sin(x * rng.uniform(2, 9) + rng.uniform(0, 6)) + 0.1 * noise(rng, w, h, 3, 4)
        ground = colour(rng) * np.array([0.6, 0.9, 0.5], np.float32)
        out = np.where((y > line)[..., None], mix(noise(rng, w, h, 8, 4), ground, ground * 0.6), out)
    return out


def collage(rng, w, h):
    """Overlapping ragged polygons and bars, each with its own texture."""
    out = clouds(rng, w, h)
    for _ in range(rng.randrange(3, 14)):
        im = Image.new("L", (w, h))
        cx, cy, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.1, 0.7) * min(w, h)
        n = rng.randrange(3, 9)
        turn = sorted(rng.uniform(0, 2 * math.pi) for _ in range(n))
        ImageDraw.Draw(im).polygon([(cx + r * rng.uniform(0.4, 1) * math.cos(t), cy + r * rng.uniform(0.4, 1) * math.sin(t)) for t in turn], 255)
        part = np.asarray(im, np.float32) / 255 * rng.uniform(0.4, 1)
        fill = colour(rng) if rng.random() < 0.6 else mix(noise(rng, w, h, 6, 3), colour(rng), colour(rng))
        out = out + (fill - out) * part[..., None]
    return out


def scribble(rng, w, h):
    """Lines and dots over a gradient."""
    out = gradient(rng, w, h)
    im = Image.fromarray((out.clip(0, 1) * 255).astype(np.uint8))
    d = ImageDraw.Draw(im)
    for _ in range(rng.randrange(5, 60)):
        c = tuple(int(255 * v) for v in colour(rng))
        p = [(rng.uniform(0, w), rng.uniform(0, h)) for _ in range(2)]
        if rng.random() < 0.6:
            d.line(p, c, rng.randrange(1, max(2, w // 60)))
        else:
            r = rng.uniform(0.003, 0.015) * w
            d.ellipse((p[0][0] - r, p[0][1] - r, p[0][0] + r, p[0][1] + r), c)
    return np.asarray(im, np.float32) / 255


def room(rng, w, h):
    """A wall, a floor, and the light on them."""
    x, y = grid(w, h)
    wall, floor = (k(rng, w, h) for k in (rng.choice((plain, gradient, stripes, clouds)), rng.choice((plain, clouds, tiles, stripes))))
    line = rng.uniform(0.45, 0.85) + rng.uniform(-0.1, 0.1) * x
    out = np.where((y > line)[..., None], floor, wall)
    return out * (rng.uniform(0.7, 1) + 0.3 * mix(np.hypot(x - rng.random(), y - rng.random()), 1.0, -0.5))


def marble(rng, w, h):
    x, y = grid(w, h)
    t = np.sin((x * rng.uniform(-9, 9) + y * rng.uniform(-9, 9)) + rng.uniform(4, 12) * noise(rng, w, h, 3, 4))
    return mix(np.abs(t), colour(rng), colour(rng))


def plaid(rng, w, h):
    x, y = grid(w, h)
    out = np.broadcast_to(colour(rng), (h, w, 3)).copy()
    for _ in range(rng.randrange(2, 6)):
        v, f = rng.choice((x, y)), rng.uniform(2, 12)
        out = mix(((v * f + rng.random()) % 1 < rng.uniform(0.05, 0.5)) * rng.uniform(0.2, 0.6), out, colour(rng))
    return out


def ripples(rng, w, h):
    x, y = grid(w, h)
    t = sum(np.sin(np.hypot(x - rng.uniform(-0.5, 1.5), y - rng.uniform(-0.5, 1.5)) * rng.uniform(8, 40)) for _ in range(3))
    return mix(t / 6 + 0.5, colour(rng), colour(rng))


KINDS = ((plain, 10), (gradient, 18), (clouds, 18), (stripes, 8), (tiles, 8), (land, 10), (collage, 14), (scribble, 6), (room, 8))


HELD_OUT = (marble, plaid, ripples)       # never seen in training


def draw(rng, width, height, held_out=False, kind=None):
    """A random background; held_out ones are of kinds that training never shows; kind: that one."""
    if kind is None:
        kind = rng.choice(HELD_OUT) if held_out else rng.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
    out = np.array(kind(rng, width, height), np.float32)
    if rng.random() < 0.25:
        out *= (0.75 + 0.5 * noise(rng, width, height, 3, 2))[..., None]
    return np.clip(out, 0, 1)
