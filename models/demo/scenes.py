"""Scenes of emoji and plain shapes over made-up backgrounds, with exact masks.

    python scenes.py OUT --count 8 --seed 1 --size 640x480     writes OUT/00000.png ... and OUT/scenes.json

`draw_scene(seed, ...)` depends on its arguments alone.  All sizes are fractions of sqrt(width * height).
"""
import argparse
import functools
import io
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import backgrounds
import concepts as C
import sprites


@dataclass
class Thing:
    """One thing in a scene."""
    name: str             # a concept, or the glyph itself for a distractor
    colour: str           # of the palette, or None where its colour has no agreed name
    mask: np.ndarray      # bool [height, width], the visible part
    box: tuple            # x0, y0, x1, y1 in pixels, around the visible part

    @property
    def concept(self):
        return self.name if self.name in C.CONCEPTS else None


@dataclass
class Scene:
    image: np.ndarray     # uint8 [height, width, 3]
    things: list

    @property
    def shown(self):
        return {t.name for t in self.things}


@dataclass
class Plan:
    """What to draw: `count` things of one kind."""
    name: str
    count: int
    size: float
    colours: list         # one a thing; None keeps the native colour


def plan(rng):
    """A random choice of kinds for one scene."""
    plans = []
    names = rng.sample(C.NAMES, rng.choices((1, 2, 3, 4), (20, 35, 30, 15))[0])
    if rng.random() < 0.25:
        names[0] = rng.choice([n for n in C.NAMES if C.CONCEPTS[n].colours])
    for name in dict.fromkeys(names):
        count = rng.choices((1, 2, 3, 4, 6), (45, 25, 16, 9, 5))[0]
        colours = [None] * count
        if C.CONCEPTS[name].colours and rng.random() < 0.7:
            few = rng.sample(list(C.PALETTE), rng.choice((1, 2, 2, 3)))
            colours = [rng.choice(few) for _ in range(count)]
        plans.append(Plan(name, count, math.exp(rng.uniform(math.log(0.14), math.log(0.52))), colours))
    for glyph in rng.sample(list(C.DISTRACTORS), rng.choices((0, 1, 2, 3), (35, 30, 20, 15))[0]):
        count = rng.choices((1, 2, 3), (70, 20, 10))[0]
        plans.append(Plan(glyph, count, math.exp(rng.uniform(math.log(0.13), math.log(0.4))), [None] * count))
    total = sum(p.count for p in plans)
    for p in plans:
        p.size = max(0.12, p.size * min(1, math.sqrt(6 / total)))
    return plans


def crowd(rng):
    """Many kinds, one thing of each: what the dense stage learns most from."""
    names = rng.sample(C.NAMES, rng.randrange(9, 15))
    paint = lambda n: rng.choice(list(C.PALETTE)) if C.CONCEPTS[n].colours and rng.random() < 0.6 else None
    return [Plan(n, 1, rng.uniform(0.2, 0.36), [paint(n)]) for n in names] + [
        Plan(g, 1, rng.uniform(0.15, 0.3), [None]) for g in rng.sample(list(C.DISTRACTORS), rng.randrange(3))]


def pick_sprite(rng, fonts, name, colour):
    """(sprite, colour name or None) of a concept or distractor in one of the fonts."""
    concept = C.CONCEPTS.get(name)
    if concept and name in C.SHAPES and rng.random() < 0.5:
        colour = colour or rng.choice(list(C.PALETTE))
        return sprites.shape_sprite(name, colour, rng.randrange(6)), colour
    while True:
        glyph = rng.choice(concept.emoji) if concept else name
        if concept and colour and glyph not in concept.colours:
            continue
        found = sprites.sprite(rng.choices(fonts, [2] + [1] * (len(fonts) - 1))[0], glyph, colour) or sprites.sprite(
            fonts[0], glyph, colour)
        return found, colour or (concept.colours.get(glyph) if concept else None)


def colour_matrix(rng, hue, sat, gain):
    """A random 3x3 matrix that turns the hue by at most `hue` degrees and scales saturation and brightness."""
    a, s = math.radians(rng.uniform(-hue, hue)), rng.uniform(*sat)
    grey = np.full((3, 3), 1 / 3)
    turn = grey + math.cos(a) * (np.eye(3) - grey) + math.sin(a) / math.sqrt(3) * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return ((grey + s * (np.eye(3) - grey)) @ turn * rng.uniform(*gain)).astype(np.float32)


def place(rng, sprite, size, angle, flip, shear, aspect):
    """The sprite drawn `size` pixels long, turned: float32 [h, w, 4] premultiplied, 0..1. aspect stretches x against y."""
    top = sprite[0]
    k = size / max(top.size)
    cos, sin = math.cos(angle), math.sin(angle)
    m = np.array([[k, 0], [0, k]]) @ np.array([[-1 if flip else 1, shear], [0, 1]])
    m = np.diag([1 / math.sqrt(aspect), math.sqrt(aspect)]) @ np.array([[cos, -sin], [sin, cos]]) @ m
    w, h = top.size
    corners = m @ np.array([[-w, w, w, -w], [-h, -h, h, h]]) / 2
    ow, oh = (max(3, int(math.ceil(v)) + 2) for v in corners.max(1) - corners.min(1))
    level = min(len(sprite) - 1, max(0, round(math.log2(1 / k) - 0.1))) if k < 1 else 0
    src = sprite[level]
    back = np.diag([src.size[0] / w, src.size[1] / h]) @ np.linalg.inv(m)
    cx, cy = src.size[0] / 2, src.size[1] / 2
    off = np.array([cx, cy]) - back @ np.array([ow / 2, oh / 2])
    out = src.transform((ow, oh), Image.AFFINE, (back[0, 0], back[0, 1], off[0], back[1, 0], back[1, 1], off[1]), Image.BILINEAR)
    return np.asarray(out, np.float32) / 255


def paste(image, patch, x, y, shade=None):
    """Composite a premultiplied patch with its top left corner at x, y; returns the slices used, or None if outside."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + patch.shape[1], width), min(y + patch.shape[0], height)
    if x1 <= x0 or y1 <= y0:
        return None
    at, inside = np.s_[y0:y1, x0:x1], np.s_[y0 - y:y1 - y, x0 - x:x1 - x]
    p = patch[inside]
    image[at] *= 1 - p[..., 3:]
    image[at] += p[..., :3]
    return at, inside


def shadow(rng, image, alpha, x, y, size):
    """A soft shadow of `alpha` under a thing at x, y."""
    blur = max(1.0, size * rng.uniform(0.02, 0.08))
    pad = int(2 * blur) + 1
    a = Image.fromarray((np.pad(alpha, pad) * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(blur))
    a = np.asarray(a, np.float32)[..., None] * (rng.uniform(0.2, 0.6) / 255)
    dx, dy = rng.uniform(-0.08, 0.12) * size, rng.uniform(0.01, 0.14) * size
    paste(image, np.concatenate([np.zeros_like(a).repeat(3, 2), a], 2), x - pad + int(dx), y - pad + int(dy))


def finish(rng, image, hard):
    """Damage of camera and file: colour cast, light, blur, noise, JPEG. float32 0..1 in, uint8 out."""
    if rng.random() < 0.6 * hard:
        image = image @ colour_matrix(rng, 4, (0.65, 1.25), (0.75, 1.15)).T
        image = image * np.array([rng.uniform(0.93, 1.07) for _ in range(3)], np.float32)
    if rng.random() < 0.3 * hard:
        image = np.clip(image, 0, 1) ** rng.uniform(0.75, 1.35)
    if rng.random() < 0.3 * hard:
        g = np.random.default_rng(rng.getrandbits(32))
        image = image + g.normal(0, rng.uniform(0.01, 0.06), image.shape).astype(np.float32)
    im = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    scale = math.sqrt(im.size[0] * im.size[1]) / 224
    if rng.random() < 0.3 * hard:
        im = im.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1) * scale))
    if rng.random() < 0.35 * hard:
        f = io.BytesIO()
        im.save(f, "JPEG", quality=rng.randrange(30, 92))
        im = Image.open(f).convert("RGB")
    return np.asarray(im)


def draw_scene(seed, width=224, height=224, aspect=1.0, fonts=(sprites.NOTO,), plans=None, hard=1.0, held_out=False,
               ground=None):
    """One scene.  aspect: how much wider than its pixels the picture is meant to be seen (a 4:3 picture squeezed
    into a square has 4/3).  plans: what to draw, by default a random choice.
    hard: 0..1, how much things are turned and tinted and the picture is damaged.
    held_out: over a kind of background that training never shows.  ground: a function of
    backgrounds.py to draw it with."""
    rng = random.Random(f"scene {seed}")
    image = backgrounds.draw(rng, width, height, held_out, ground)
    owner = np.full((height, width), -1, np.int16)
    plans = plan(rng) if plans is None else plans
    todo = [(p, i) for p in plans for i in range(p.count)]
    rng.shuffle(todo)
    shaded, whole, named = rng.random() < 0.35, [], []
    unit = math.sqrt(width * height)
    for p, i in todo:
        sprite, colour = pick_sprite(rng, fonts, p.name, p.colours[i])
        upright = p.name == "square"
        for attempt in range(6):
            size = unit * p.size * rng.uniform(0.75, 1.3) * (1 - 0.08 * attempt)
            turn = rng.random()
            angle = rng.gauss(0, hard * (6 if upright else 14)) if turn > 0.12 * hard or upright else rng.uniform(-180, 180)
            patch = place(rng, sprite, size, math.radians(angle), rng.random() < 0.5, rng.gauss(0, 0.08 * hard), aspect)
            x, y = (int(rng.uniform(0.03, 0.97) * n - s / 2) for n, s in ((width, patch.shape[1]), (height, patch.shape[0])))
            x0, y0 = max(-x, 0), max(-y, 0)
            ink = patch[y0:height - y, x0:width - x, 3] > 0.5
            total = int((patch[..., 3] > 0.5).sum())
            under = owner[max(y, 0):y + patch.shape[0], max(x, 0):x + patch.shape[1]]
            hit = np.bincount(under[ink & (under >= 0)], minlength=len(whole)) if ink.any() else []
            left = [int((owner == k).sum()) - int(h) if h else None for k, h in enumerate(hit)]
            if ink.sum() >= max(30, 0.6 * total) and all(v is None or v > 0.5 * whole[k] for k, v in enumerate(left)):
                break
        else:
            continue
        hue = hard * (6 if p.name in C.CONCEPTS and C.CONCEPTS[p.name].colours else 14)
        turned = colour_matrix(rng, hue, (1 - 0.25 * hard, 1 + 0.2 * hard), (1 - 0.2 * hard, 1 + 0.1 * hard))
        patch[..., :3] = patch[..., :3] @ turned.T
        if rng.random() < 0.4 * hard:                   # light from one side
            ramp = np.linspace(*rng.choice(((1.1, 0.7), (0.7, 1.1))), patch.shape[rng.random() < 0.5], dtype=np.float32)
            patch[..., :3] *= ramp[:, None, None] if len(ramp) == patch.shape[0] else ramp[None, :, None]
        np.clip(patch[..., :3], 0, patch[..., 3:], out=patch[..., :3])
        if shaded and rng.random() < 0.8:
            shadow(rng, image, patch[..., 3], x, y, size)
        at, inside = paste(image, patch, x, y)
        owner[at][patch[inside][..., 3] > 0.5] = len(whole)
        whole.append(total)
        named.append((p.name, colour))
    things = []
    for k, (name, colour) in enumerate(named):
        mask = owner == k
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(ys):
            things.append(Thing(name, colour, mask, (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)))
    return Scene(finish(rng, image, hard), things)


def training_scene(seed, size, fonts, crowded=0.0, hard=1.0):
    """A square scene as the model sees it: pictures of all proportions arrive squeezed into a square.
    crowded: the share of scenes that show a crowd."""
    rng = random.Random(f"shape {seed}")
    aspect = math.exp(rng.choice((0, rng.uniform(-0.6, 0.6), math.log(4 / 3), math.log(1.5))))
    return draw_scene(seed, size, size, aspect, fonts, crowd(rng) if rng.random() < crowded else None, hard)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", type=Path)
    ap.add_argument("--count", type=int, default=8)
    ap.add_argument("--seed", default="1", help="scenes of different seeds have nothing in common")
    ap.add_argument("--size", default="640x480", help="WxH in pixels")
    ap.add_argument("--fonts", nargs="+", default=[sprites.NOTO], help="colour emoji fonts; the first must have every emoji")
    a = ap.parse_args()
    from pycocotools import mask as rle
    width, height = map(int, a.size.split("x"))
    a.out.mkdir(parents=True, exist_ok=True)
    index = []
    for i in range(a.count):
        scene = draw_scene(f"{a.seed}/{i}", width, height, fonts=tuple(a.fonts))
        name = f"{i:05d}.png"
        Image.fromarray(scene.image).save(a.out / name)
        index.append({"image": name, "width": width, "height": height, "things": [
            {"concept": t.concept, "emoji": None if t.concept else t.name, "colour": t.colour, "box": t.box,
             "area": int(t.mask.sum()),
             "mask": {"size": [height, width], "counts": rle.encode(np.asfortranarray(t.mask.astype(np.uint8)))["counts"].decode()}}
            for t in scene.things]})
    (a.out / "scenes.json").write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
