"""From a scene to what the model trains on: prompts, targets, and a dense labelling of the patches."""
import random
from dataclasses import dataclass, field

import numpy as np

import concepts as C

NEAR = {"red": {"orange", "pink", "brown"}, "orange": {"red", "yellow", "brown"}, "yellow": {"orange", "white"},
        "green": set(), "blue": {"purple"}, "purple": {"blue", "pink"}, "pink": {"red", "purple", "white"},
        "brown": {"red", "orange", "black"}, "black": {"gray", "brown"}, "white": {"gray", "yellow", "pink"},
        "gray": {"white", "black"}}


@dataclass
class Prompt:
    text: str
    targets: list                                  # indices of the scene's things it asks for
    boxes: list = field(default_factory=list)      # [(cx, cy, w, h) in 0..1, label 1 | 0]


@dataclass
class Phrase:
    """A phrase of the dense stage: a concept, perhaps in one colour."""
    text: str
    name: str
    colour: str = None

    def fits(self, thing):
        """1 the phrase means the thing, 0 it does not, -1 unclear."""
        if thing.name != self.name:
            return -1 if C.unclear(self.name, {thing.name}) else 0
        if self.colour is None or self.colour == thing.colour:
            return 1
        return -1 if thing.colour is None or thing.colour in NEAR[self.colour] else 0


def word(rng, name, colour=None):
    """A phrase for a concept: one of its words, now and then with an article or a colour."""
    text = rng.choice(C.CONCEPTS[name].words) if rng.random() < 0.6 else rng.choice(C.CONCEPTS[name].words[:1] + [C.plural(name)])
    if colour == "gray" and rng.random() < 0.4:
        colour = "grey"
    if colour:
        text = f"{colour} {text}"
    return f"{rng.choice(('a', 'the'))} {text}" if rng.random() < 0.06 else text


def relative_box(thing, jitter=None):
    """(cx, cy, w, h) in 0..1; jitter: a random.Random that draws it as a hand would."""
    h, w = thing.mask.shape
    x0, y0, x1, y1 = thing.box
    if jitter:
        dx, dy = 0.06 * (x1 - x0), 0.06 * (y1 - y0)
        x0, x1 = (v + jitter.uniform(-dx, dx) for v in (x0, x1))
        y0, y1 = (v + jitter.uniform(-dy, dy) for v in (y0, y1))
    return (x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h


def text_prompts(rng, scene):
    """Prompts for what is there, for what is not, and for colours right and wrong."""
    things, shown = scene.things, scene.shown
    of = {}
    for i, t in enumerate(things):
        if t.concept and not C.unclear(t.name, shown):
            of.setdefault(t.name, []).append(i)
    out = [Prompt(word(rng, n), ids) for n, ids in of.items()]
    painted = [n for n in of if C.CONCEPTS[n].colours]
    for name in painted[:2]:
        there = {things[i].colour for i in of[name]}
        near = set().union(*(NEAR[c] for c in there))
        colour = rng.choice(sorted(there))
        if not NEAR[colour] & there:
            out.append(Prompt(word(rng, name, colour), [i for i in of[name] if things[i].colour == colour]))
        wrong = sorted(set(C.PALETTE) - there - near)
        if wrong and rng.random() < 0.6:
            out.append(Prompt(word(rng, name, rng.choice(wrong)), []))
    absent = [n for n in C.NAMES if n not in shown and not C.unclear(n, shown)]
    for name in rng.sample(absent, min(2, len(absent))):
        colour = rng.choice(list(C.PALETTE)) if C.CONCEPTS[name].colours and rng.random() < 0.3 else None
        out.append(Prompt(word(rng, name, colour), []))
    if rng.random() < 0.5:
        noun = rng.choice(C.ABSENT)
        if not C.unclear(noun, shown):
            out.append(Prompt(noun, []))
    return out


def box_prompts(rng, scene):
    """Prompts with example boxes: all of one kind from one or two of them, with or without words, and boxes of others."""
    things, by = scene.things, {}
    for i, t in enumerate(things):
        by.setdefault(t.name, []).append(i)
    kinds = sorted(by, key=lambda n: rng.random() - (len(by[n]) > 1) - 0.5 * (n in C.CONCEPTS))
    out = []
    for name in kinds[:3]:
        ids = by[name]
        text = word(rng, name) if name in C.CONCEPTS and rng.random() < 0.25 and not C.unclear(name, scene.shown) else "visual"
        shown = rng.sample(ids, 2 if len(ids) > 2 and rng.random() < 0.3 else 1)
        boxes = [(relative_box(things[i], rng), 1) for i in shown]
        targets, colours = ids, {things[i].colour for i in shown}
        other = [i for i in ids if None not in colours | {things[i].colour}
                 and not colours & (NEAR[things[i].colour] | {things[i].colour})]
        if other and rng.random() < 0.4:              # "like this, not like that": the colour tells them apart
            boxes.append((relative_box(things[rng.choice(other)], rng), 0))
            gone = {things[i].colour for i in other}
            targets = [i for i in ids if things[i].colour not in gone]
        elif len(by) > 1 and rng.random() < 0.3:
            stranger = rng.choice([i for n in by if n != name for i in by[n]])
            boxes.append((relative_box(things[stranger], rng), 0))
        rng.shuffle(boxes)
        out.append(Prompt(text, targets, boxes))
    return out


def prompts(seed, scene, limit=9):
    """The prompts of one training scene, about a third of them with boxes."""
    rng = random.Random(f"prompts {seed}")
    text, box = text_prompts(rng, scene), box_prompts(rng, scene)
    rng.shuffle(text)
    return text[:limit - 1 - len(box)] + box


def phrases(seed, scenes):
    """The phrases of one dense step: a word for every concept, and some colours of the paintable ones."""
    rng = random.Random(f"phrases {seed}")
    out = [Phrase(word(rng, n), n) for n in C.NAMES]
    there = sorted({(t.name, t.colour) for s in scenes for t in s.things if t.concept and t.colour})
    there = rng.sample(there, min(24, len(there)))
    paint = [n for n in C.NAMES if C.CONCEPTS[n].colours]
    there += [(rng.choice(paint), rng.choice(list(C.PALETTE))) for _ in range(12)]
    return out + [Phrase(word(rng, n, c), n, c) for n, c in dict.fromkeys(there)]


def blocks(mask, n):
    """The share of each cell of an n x n grid that a bool [S, S] mask covers."""
    k = mask.shape[0] // n
    return mask.reshape(n, k, n, k).mean((1, 3), dtype=np.float32)


def patch_owner(scene, n):
    """[n, n]: the thing that covers a patch most, -1 where none covers over a third."""
    if not scene.things:
        return np.full((n, n), -1)
    cover = np.stack([blocks(t.mask, n) for t in scene.things])
    return np.where(cover.max(0) > 0.35, cover.argmax(0), -1)
