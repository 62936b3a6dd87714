"""Trains the demo model from nothing, in pieces: it can be killed and started again at any time.

    python train.py --state DIR [--export models/demo]

Two stages over an endless stream of scenes, numbered from 0, each made from the seed and its number:
 dense  the first --dense-scenes: the image encoder and the words learn what each patch shows;
 full   after that: the whole detector, about eight prompts an image.
DIR/state.pt holds model, moving average, optimiser and the number of the next scene; it is replaced in one step every
--save-seconds.  Nothing else is random, so a resumed run goes on as if it had not stopped.  The learning rate is warmed
up at the start of each stage, held, and falls to --lr-end of itself between the prompts --decay-from and --decay-to.
While the file --pause exists, nothing is computed.
"""
import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

import concepts
import network
import prompts as P
import scenes
import sprites
from losses import TrainingHeads, dense_losses, prompt_losses, total
from network import GRID, SIZE


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
        i, tokens = self.start, network.Tokenizer()
        while True:
            wait_while(self.a.pause)
            full = i >= self.a.dense_scenes
            n = self.a.batch if full else self.a.dense_batch
            yield make_batch([f"{self.a.seed}/{k}" for k in range(i, i + n)], tuple(self.a.fonts), full, tokens, self.a.mask_rows)
            i += n


def make_batch(seeds, fonts, full, tokens, mask_rows):
    """One step's images, phrases and targets as tensors; full adds the detector's prompts.

    Things of all scenes are numbered through; owner and fits refer to those numbers."""
    drawn = [scenes.training_scene(s, SIZE, fonts) for s in seeds]
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
        ids=ids, mask=mask, names=len(concepts.NAMES), owner=torch.from_numpy(owner).flatten(1), thing_box=corner,
        fits=torch.tensor([[p.fits(t) for p in asked] for t in things]).view(-1, len(asked)),
        part=torch.from_numpy(np.stack([P.blocks(m, 4 * GRID) for m in any_thing]))))
    if full:
        b["full"] = prompt_batch(seeds, drawn, first, centred, corner, tokens, mask_rows)
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


def step_losses(model, heads, b):
    """All losses of a batch, by name."""
    px = network.pixels(b["images"])
    dense = b["dense"]
    words = network.text(model, dense["ids"])
    w = dense["mask"][..., None].float()
    words = (words * w).sum(1) / w.sum(1)
    if "full" not in b:
        spatial = network.vit(model, px)
        feature = model.vision_encoder.neck.fpn_layers[2](spatial)
        return dense_losses(heads, spatial, feature, words, dense)
    f = b["full"]
    keys = ("ids", "mask", "image", "boxes", "labels", "given")
    out = network.forward(model, network.Batch(px, **{k: f[k] for k in keys}), f["rows"])
    return prompt_losses(heads, out, f) | dense_losses(heads, out["spatial"], out["feature"], words, dense)


class Trainer:
    """The state that is saved, and how it moves."""

    def __init__(self, a):
        self.a, self.file = a, a.state / "state.pt"
        self.model, self.heads = network.build(a.seed), TrainingHeads()
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        named = [*self.model.named_parameters(), *self.heads.named_parameters()]
        flat = lambda n, p: p.ndim < 2 or "embed" in n or "token" in n or "reference" in n
        slow = lambda n: n.startswith("vision_encoder.backbone")
        groups = [dict(params=[p for n, p in named if flat(n, p) == f and slow(n) == s], weight_decay=0 if f else 0.02, slow=s)
                  for f in (True, False) for s in (True, False)]
        self.optimiser = torch.optim.AdamW(groups, lr=a.lr, betas=(0.9, 0.98), fused=True)
        self.n = dict(scenes=0, prompts=0, steps=0, full_steps=0, seconds=0.0)
        if self.file.exists():
            s = torch.load(self.file, weights_only=True)
            self.model.load_state_dict(s["model"])
            self.heads.load_state_dict(s["heads"])
            self.optimiser.load_state_dict(s["optimiser"])
            self.average, self.n = s["average"], s["n"]

    def save(self):
        part = self.file.with_suffix(".part")
        torch.save(dict(model=self.model.state_dict(), heads=self.heads.state_dict(), average=self.average,
                        optimiser=self.optimiser.state_dict(), n=self.n), part)
        os.replace(part, self.file)

    def rate(self):
        """The learning rate of this step."""
        a, full = self.a, self.n["scenes"] >= self.a.dense_scenes
        steps = self.n["full_steps"] if full else self.n["steps"]
        rate = (a.lr if full else a.dense_lr) * min(1, (steps + 1) / 150)
        if a.decay_from is not None:
            done = (self.n["prompts"] - a.decay_from) / max(1, a.decay_to - a.decay_from)
            rate *= 1 - (1 - a.lr_end) * min(1, max(0, done))
        return rate

    def step(self, b):
        """One step of the optimiser; returns its losses as floats."""
        rate, full = self.rate(), "full" in b
        for g in self.optimiser.param_groups:
            g["lr"] = rate * (self.a.vit_lr if g["slow"] and full else 1)
        parts = step_losses(self.model, self.heads, b)
        self.optimiser.zero_grad()
        total(parts).backward()
        norm = torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *self.heads.parameters()], self.a.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.n["scenes"] += b["count_scenes"]
        self.n["steps"] += 1
        self.n["full_steps"] += full
        self.n["prompts"] += len(b["full"]["count"]) if full else 0
        keep = min(self.a.average, (1 + self.n["steps"]) / (10 + self.n["steps"]))
        with torch.no_grad():
            for k, v in self.model.state_dict().items():
                if v.is_floating_point():
                    self.average[k].lerp_(v, 1 - keep)
        return {k: float(v.detach()) for k, v in parts.items()} | dict(norm=float(norm), rate=rate)


def export(weights, out):
    """The averaged weights as a Hugging Face directory, f16."""
    model = network.Sam3Model(network.config())
    model.load_state_dict(weights)
    model.half().save_pretrained(out)
    size = {"height": SIZE, "width": SIZE}
    images = dict(image_processor_type="Sam3ImageProcessor", do_convert_rgb=True, do_resize=True, size=size, resample=2,
                  do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                  mask_size={"height": 4 * GRID, "width": 4 * GRID})
    put = lambda name, x: (Path(out) / name).write_text(json.dumps(x, indent=1) + "\n")
    put("preprocessor_config.json", images)
    put("processor_config.json", dict(processor_class="Sam3Processor", image_processor=images, target_size=SIZE, point_pad_value=-10))
    put("tokenizer_config.json", dict(tokenizer_class="CLIPTokenizer", model_max_length=32, bos_token="<|startoftext|>",
                                      eos_token="<|endoftext|>", unk_token="<|endoftext|>", pad_token="<|endoftext|>"))


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg = ap.add_argument
    arg("--state", type=Path, required=True, help="folder of the training state and its log")
    arg("--export", type=Path, help="write the checkpoint here and stop")
    arg("--pause", type=Path, help="wait while this file exists")
    arg("--seed", type=int, default=1)
    arg("--fonts", nargs="+", default=[sprites.NOTO], help="colour emoji fonts, the first complete")
    arg("--dense-scenes", type=int, default=32000, help="scenes of the dense stage")
    arg("--dense-batch", type=int, default=16)
    arg("--dense-lr", type=float, default=1e-3)
    arg("--batch", type=int, default=4, help="images a step of the full stage")
    arg("--mask-rows", type=int, default=5, help="prompts a step that train masks")
    arg("--lr", type=float, default=6e-4)
    arg("--vit-lr", type=float, default=0.5, help="the image encoder's share of the rate in the full stage")
    arg("--decay-from", type=int, help="prompts at which the rate begins to fall")
    arg("--decay-to", type=int, help="prompts at which it has fallen, and training ends")
    arg("--lr-end", type=float, default=0.03)
    arg("--clip", type=float, default=10.0)
    arg("--average", type=float, default=0.998, help="memory of the moving average of the weights")
    arg("--threads", type=int, default=0, help="0: all cores")
    arg("--save-seconds", type=float, default=240)
    arg("--log-steps", type=int, default=50)
    return ap.parse_args()


def main():
    a = arguments()
    a.state.mkdir(parents=True, exist_ok=True)
    t = Trainer(a)
    if a.export:
        export(t.average, a.export)
        return
    if a.threads:
        torch.set_num_threads(a.threads)
    log = open(a.state / "log.txt", "a", buffering=1)
    say = lambda text: print(time.strftime("%H:%M:%S"), text, file=log)
    say(f"start {t.n} {vars(a)}")
    saved = last = time.time()
    sums, n = {}, 0
    loader = torch.utils.data.DataLoader(Stream(a, t.n["scenes"]), batch_size=None, num_workers=1, prefetch_factor=4)
    for b in loader:
        wait_while(a.pause, say)
        for k, v in t.step(b).items():
            sums.setdefault(k, []).append(v)
        now = time.time()
        t.n["seconds"] += min(now - last, 60)
        last = now
        if t.n["steps"] % a.log_steps == 0:
            say(json.dumps({**{k: round(v, 1) for k, v in t.n.items()}, **{k: round(float(np.nanmean(v)), 5) for k, v in sums.items()}}))
            sums = {}
        done = a.decay_to is not None and t.n["prompts"] >= a.decay_to
        if done or now - saved > a.save_seconds:
            t.save()
            saved = now
        if done:
            say("done")
            return


if __name__ == "__main__":
    main()
