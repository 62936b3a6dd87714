"""Training batches: scenes, what they show, and the prompts that ask for it, as tensors.

A batch is a dict: images uint8 [B, SIZE, SIZE, 3]; count_scenes B; dense, what `losses.dense_losses` needs; and in the
full stage full, the prompts and what `losses.prompt_losses` needs.  Things of all scenes of a batch are numbered through;
owner and fits refer to those numbers.
"""
import time

import numpy as np
import torch

import prompts as P
import scenes
from network import GRID, SIZE, Tokenizer


def wait_while(pause, say=lambda _: None):
    if pause and pause.exists():
        say("paused")
        while pause.exists():
            time.sleep(2)
        say("going on")


class Stream(torch.utils.data.IterableDataset):
    """Batches from a scene number on; everything in them is a function of the seed and that number."""

    def __init__(self, a, start):
        self.a, self.start = a, start

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        i, turn, tokens = self.start, 0, Tokenizer()
        while True:
            full = i >= self.a.dense_scenes
            n = self.a.batch if full else self.a.dense_batch
            if turn % info.num_workers == info.id:              # the loader takes from its workers in turn
                wait_while(self.a.pause)
                hard = min(1.0, 0.2 + i / max(1, self.a.hard_from))
                yield make_batch([f"{self.a.seed}/{k}" for k in range(i, i + n)], hard, full, tokens, self.a)
            i, turn = i + n, turn + 1


def make_batch(seeds, hard, full, tokens, a):
    """The batch of some scenes; full adds the detector's prompts."""
    drawn = [scenes.training_scene(s, SIZE, tuple(a.fonts), 0.1 if full else 0.8, hard) for s in seeds]
    things = [t for s in drawn for t in s.things]
    first = np.cumsum([0] + [len(s.things) for s in drawn])
    owner = [P.patch_owner(s, GRID) for s in drawn]
    owner = np.stack([np.where(o >= 0, o + k, -1) for o, k in zip(owner, first)])
    asked = P.phrases(seeds[0], drawn)
    ids, mask = tokens([p.text for p in asked])
    centred = torch.tensor([P.relative_box(t) for t in things]).view(-1, 4)
    corner = torch.cat([centred[:, :2] - centred[:, 2:] / 2, centred[:, :2] + centred[:, 2:] / 2], 1)
    any_thing = [np.any([t.mask for t in s.things], 0) if s.things else np.zeros((SIZE, SIZE), bool) for s in drawn]
    b = dict(count_scenes=len(seeds), images=torch.from_numpy(np.stack([s.image for s in drawn])), dense=dict(
        ids=ids, mask=mask, owner=torch.from_numpy(owner).flatten(1), thing_box=corner,
        fits=torch.tensor([[p.fits(t) for p in asked] for t in things]).view(-1, len(asked)),
        part=torch.from_numpy(np.stack([P.blocks(m, 4 * GRID) for m in any_thing]))))
    if full:
        b["full"] = prompt_batch(seeds, drawn, first, centred, corner, tokens, a.mask_rows)
    return b


def prompt_batch(seeds, drawn, first, centred, corner, tokens, mask_rows):
    """The detector's prompts of some scenes; mask_rows of them, taken from those with targets, also train masks."""
    ask = [(i, p) for i, (seed, s) in enumerate(zip(seeds, drawn)) for p in P.prompts(seed, s)]
    n, t, k = len(ask), max(1, *(len(p.targets) for _, p in ask)), max(len(p.boxes) for _, p in ask)
    ids, mask = tokens([p.text for _, p in ask])
    boxes, labels = torch.full((n, k, 4), 0.5), torch.zeros(n, k, dtype=torch.long)
    target = torch.full((n, t, 4), 0.5)
    patch, patch_target = torch.zeros(n, GRID * GRID), torch.zeros(n, GRID * GRID, 4)
    for r, (i, p) in enumerate(ask):
        if p.boxes:
            boxes[r, :len(p.boxes)] = torch.tensor([v for v, _ in p.boxes])
            labels[r, :len(p.boxes)] = torch.tensor([v for _, v in p.boxes])
        if p.targets:
            target[r, :len(p.targets)] = centred[first[i] + np.array(p.targets)]
            cover = torch.from_numpy(np.stack([P.blocks(drawn[i].things[j].mask, GRID) for j in p.targets])).flatten(1)
            patch[r] = cover.sum(0)
            patch_target[r] = corner[first[i] + np.array(p.targets)][cover.argmax(0)]
    positive = [r for r, (_, p) in enumerate(ask) if p.targets]
    rows = [positive[j] for j in np.linspace(0, len(positive) - 1, min(mask_rows, len(positive))).round().astype(int)]
    row_masks = torch.zeros(len(rows), t, 4 * GRID, 4 * GRID)
    for at, r in enumerate(rows):
        i, p = ask[r]
        row_masks[at, :len(p.targets)] = torch.from_numpy(np.stack([P.blocks(drawn[i].things[j].mask, 4 * GRID) for j in p.targets]))
    return dict(ids=ids, mask=mask, image=torch.tensor([i for i, _ in ask]), boxes=boxes, labels=labels,
                given=torch.arange(k) < torch.tensor([len(p.boxes) for _, p in ask])[:, None],
                count=[len(p.targets) for _, p in ask], target=target, patch=patch.clamp(max=1), patch_target=patch_target,
                rows=torch.tensor(rows, dtype=torch.long), row_masks=row_masks)
