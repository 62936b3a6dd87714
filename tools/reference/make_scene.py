#!/usr/bin/env python3
"""Draws the photograph of the tests, tests/e2e/images/street.jpg: our own, so that it may lie in the repository.

  make_scene.py OUT.jpg       Needs numpy and Pillow.
"""
import math
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, SCALE = 640, 480, 3  # drawn SCALE times as large, then reduced
random = np.random.RandomState(7)


def clouds(width, height, octaves=6, stretch=1.0):
    """Smooth noise in 0..1, [height, width]"""
    total, weight = np.zeros((height, width)), 0.0
    for o in range(octaves):
        n = 3 * 2 ** o
        cells = random.random_sample((n, max(2, int(n * stretch))))
        layer = Image.fromarray((cells * 255).astype(np.uint8)).resize((width, height), Image.BICUBIC)
        total += np.asarray(layer) / 255.0 * 0.55 ** o
        weight += 0.55 ** o
    return total / weight


def shade(image, polygon, colour, noise, light=(0, 0)):
    """Fills a polygon (units of the final image) with a colour, varied by noise and by a gradient of light."""
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon([(x * SCALE, y * SCALE) for x, y in polygon], fill=255)
    blend(image, mask, colour, noise, light)


def disc(image, box, colour, noise, light=(0, 0)):
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse([v * SCALE for v in box], fill=255)
    blend(image, mask, colour, noise, light)


def blend(image, mask, colour, noise, light):
    height, width = GRAIN.shape
    y, x = np.mgrid[0:height, 0:width]
    tone = 1 + noise * (GRAIN - .5) + light[0] * (x / width - .5) + light[1] * (y / height - .5)
    layer = np.clip(np.array(colour) * tone[..., None], 0, 255).astype(np.uint8)
    image.paste(Image.fromarray(layer), mask=mask)


def tree(image, x, ground, size):
    shade(image, [(x - size * .05, ground), (x - size * .03, ground - size * .5), (x + size * .03, ground - size * .5),
                  (x + size * .06, ground)], (88, 66, 48), .8)
    for _ in range(40):
        a, r = random.random_sample() * 2 * math.pi, math.sqrt(random.random_sample()) * size * .27
        cx, cy, s = x + r * math.cos(a), ground - size * .68 + r * math.sin(a) * 1.1, size * .1
        tint = 1.25 - .6 * ((cy - (ground - size)) / size) + .15 * random.random_sample()
        disc(image, [cx - s, cy - s, cx + s, cy + s], (52 * tint, 98 * tint, 40 * tint), .9)


def car(image, x, y, s, colour):
    """A car seen from its side; x, y: where its rear wheel stands."""
    disc(image, [x - 22 * s, y - 4 * s, x + 122 * s, y + 9 * s], (38, 38, 42), .2)
    body = [(-20, -10), (-18, -30), (2, -34), (20, -56), (66, -57), (86, -35), (116, -28), (121, -10)]
    shade(image, [(x + a * s, y + b * s) for a, b in body], colour, .25, (0, -.9))
    for window in ([(10, -35), (24, -52), (42, -53), (42, -35)], [(46, -35), (46, -53), (63, -53), (77, -35)]):
        shade(image, [(x + a * s, y + b * s) for a, b in window], (62, 82, 98), .3, (0, -1.2))
    for wheel in (0, 92):
        for r, c in ((14, (24, 24, 26)), (8, (150, 152, 156)), (3, (60, 60, 64))):
            disc(image, [x + (wheel - r) * s, y + (-4 - r) * s, x + (wheel + r) * s, y + (-4 + r) * s], c, .3)
    shade(image, [(x + 112 * s, y - 26 * s), (x + 119 * s, y - 25 * s), (x + 120 * s, y - 19 * s), (x + 113 * s, y - 20 * s)],
          (240, 232, 200), .1)


def house(image, x, y, w, h, wall, roof):
    shade(image, [(x, y), (x, y - h), (x + w, y - h), (x + w, y)], wall, .25, (.4, -.3))
    shade(image, [(x - 8, y - h), (x + w * .25, y - h * 1.55), (x + w * .8, y - h * 1.55), (x + w + 8, y - h)], roof, .6)
    for i in range(3):
        for j in range(2):
            a, b = x + w * (.1 + .31 * i), y - h * (.88 - .46 * j)
            shade(image, [(a, b), (a + w * .17, b), (a + w * .17, b + h * .27), (a, b + h * .27)], (236, 232, 222), .1)
            shade(image, [(a + 3, b + 3), (a + w * .17 - 3, b + 3), (a + w * .17 - 3, b + h * .27 - 3), (a + 3, b + h * .27 - 3)],
                  (70, 86, 104), .7, (.5, -.8))


def draw():
    width, height = WIDTH * SCALE, HEIGHT * SCALE
    y = np.linspace(0, 1, height)[:, None]
    sky = np.array([96, 148, 214]) * (1 - y[..., None] * .9) + np.array([226, 232, 238]) * y[..., None] * 1.1
    cover = np.clip((clouds(width, height, stretch=.7) - .48) * 4, 0, 1)[..., None]
    image = Image.fromarray(np.clip(sky * (1 - cover) + np.array([246, 246, 248]) * cover, 0, 255).astype(np.uint8))
    hills = [(x, 226 - 34 * math.sin(x / 97) - 18 * math.sin(x / 41 + 1)) for x in range(-4, 649, 4)]
    shade(image, hills + [(648, 300), (-4, 300)], (116, 142, 132), .35)
    shade(image, [(0, 262), (640, 250), (640, 350), (0, 350)], (104, 132, 66), .9)
    house(image, 40, 296, 170, 96, (214, 190, 156), (142, 72, 56))
    house(image, 452, 288, 140, 78, (196, 204, 206), (84, 84, 96))
    for x, ground, size in ((252, 300, 120), (330, 290, 84), (418, 296, 132), (618, 306, 150)):
        tree(image, x, ground, size)
    shade(image, [(0, 318), (640, 304), (640, 480), (0, 480)], (112, 112, 116), .5, (0, .5))
    shade(image, [(0, 306), (640, 293), (640, 306), (0, 320)], (176, 172, 164), .4)
    for i in range(6):
        x = -20 + i * 130
        shade(image, [(x, 414), (x + 66, 412), (x + 74, 420), (x + 4, 422)], (222, 220, 210), .4)
    car(image, 70, 376, .95, (186, 40, 34))
    car(image, 300, 362, .8, (58, 88, 150))
    car(image, 410, 456, 1.35, (206, 172, 60))
    return image.filter(ImageFilter.GaussianBlur(SCALE * .6)).resize((WIDTH, HEIGHT), Image.LANCZOS)


if __name__ == "__main__":
    GRAIN = clouds(WIDTH * SCALE, HEIGHT * SCALE, 9, 1.3)
    pixels = np.asarray(draw(), np.float64) + random.standard_normal((HEIGHT, WIDTH, 1)) * 2.5
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(sys.argv[1], quality=80, optimize=True)
