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
import scenes
import sprites
from batches import Stream, wait_while
from losses import FUSED, TrainingHeads, dense_losses, prompt_losses, total
from network import GRID, SIZE
from optimiser import Muon


def to(b, device):
    """The tensors of a nested dict on a device."""
    return {k: to(v, device) if isinstance(v, dict) else v.to(device) if torch.is_tensor(v) else v for k, v in b.items()}


def step_losses(model, heads, b, plain=False):
    """All losses of a batch, by name; plain: only those of the detector itself."""
    px = network.pixels(b["images"])
    dense, f, answers = b["dense"], b.get("full"), {}
    if f:
        keys = ("ids", "mask", "image", "boxes", "labels", "given")
        out = network.forward(model, network.Batch(px, **{k: f[k] for k in keys}), f["rows"])
        answers = prompt_losses(heads, out, f)
        spatial, feature = out["spatial"], out["feature"]
        if plain:
            return {k: v for k, v in answers.items() if k not in FUSED}
    else:
        spatial = network.vit(model, px)
        feature = model.vision_encoder.neck.fpn_layers[2](spatial)
    words = network.text(model, dense["ids"])
    w = dense["mask"][..., None].float()
    words = (words * w).sum(1) / w.sum(1)
    return answers | dense_losses(heads, spatial, feature, words, dense)


class Trainer:
    """The state that is saved, and how it moves."""

    def __init__(self, a):
        self.a, self.file = a, a.state / "state.pt"
        self.model, self.heads = network.build(a.seed).to(a.device), TrainingHeads().to(a.device)
        if not a.vit_lr:
            self.model.vision_encoder.backbone.requires_grad_(False)
        self.optimisers = self._optimisers()
        self.n = dict(scenes=0, prompts=0, steps=0, full_steps=0, seconds=0.0)
        if self.file.exists():
            s = torch.load(self.file, weights_only=True, map_location=a.device)
            self.model.load_state_dict(s["model"])
            self.heads.load_state_dict(s["heads"])
            for o, saved in zip(self.optimisers, s["optimisers"]):
                o.load_state_dict(saved)
            self.average, self.n = s["average"], s["n"]
        elif a.init:
            self.model.load_state_dict(network.weights_of(a.init))
            self.n["scenes"] = a.dense_scenes
        else:
            network.whiten_patches(self.model, np.stack([
                scenes.training_scene(f"patches {a.seed}/{k}", SIZE, tuple(a.fonts), 0.5).image for k in range(100)]))
        if not self.file.exists():
            self.average = {k: v.clone() for k, v in self.model.state_dict().items()}

    def _optimisers(self):
        """Muon for the matrices inside the transformers, Adam for all else; slow: the image encoder's parameters."""
        groups = {}
        for name, p in [*self.model.named_parameters(), *self.heads.named_parameters()]:
            hidden = p.ndim == 2 and min(p.shape) >= 32 and ".layers." in name
            plain = p.ndim < 2 or "embed" in name or "token" in name or "reference" in name
            key = hidden, name.startswith("vision_encoder.backbone"), plain
            groups.setdefault(key, dict(params=[], slow=key[1], weight_decay=0 if plain else 0.02))["params"].append(p)
        pick = lambda muon: [g for key, g in sorted(groups.items()) if key[0] == muon]
        return [Muon(pick(True), self.a.lr), torch.optim.AdamW(pick(False), self.a.lr, betas=(0.9, 0.98), fused=True)]

    def save(self):
        part = self.file.with_suffix(".part")
        torch.save(dict(model=self.model.state_dict(), heads=self.heads.state_dict(), average=self.average,
                        optimisers=[o.state_dict() for o in self.optimisers], n=self.n), part)
        os.replace(part, self.file)

    def rate(self):
        """The learning rate of this step."""
        a, full = self.a, self.n["scenes"] >= self.a.dense_scenes
        steps = self.n["full_steps"] if full else self.n["steps"]
        rate = (a.lr if full else a.dense_lr) * min(1, (steps + 1) / self.a.warm)
        if a.decay_from is not None:
            done = (self.n["prompts"] - a.decay_from) / max(1, a.decay_to - a.decay_from)
            rate *= 1 - (1 - a.lr_end) * min(1, max(0, done))
        return rate

    def step(self, b):
        """One step of the optimiser; returns its losses as floats."""
        rate, full = self.rate(), "full" in b
        for g in (g for o in self.optimisers for g in o.param_groups):
            g["lr"] = rate * (self.a.vit_lr if g["slow"] and full else 1)
        parts = step_losses(self.model, self.heads, to(b, self.a.device), self.a.plain)
        for p in (*self.model.parameters(), *self.heads.parameters()):
            p.grad = None
        total(parts).backward()
        norm = torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *self.heads.parameters()], self.a.clip)
        if torch.isfinite(norm):
            for o in self.optimisers:
                o.step()
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
    model.cpu().half().save_pretrained(out)
    size = {"height": SIZE, "width": SIZE}
    images = dict(image_processor_type="Sam3ImageProcessor", do_convert_rgb=True, do_resize=True, size=size, resample=2,
                  do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                  mask_size={"height": 4 * GRID, "width": 4 * GRID})
    put = lambda name, x: (Path(out) / name).write_text(json.dumps(x, indent=1) + "\n")
    put("vocabulary.json", concepts.vocabulary())
    put("preprocessor_config.json", images)
    put("processor_config.json", dict(processor_class="Sam3Processor", image_processor=images, target_size=SIZE, point_pad_value=-10))
    put("tokenizer_config.json", dict(tokenizer_class="CLIPTokenizer", model_max_length=32, bos_token="<|startoftext|>",
                                      eos_token="<|endoftext|>", unk_token="<|endoftext|>", pad_token="<|endoftext|>"))


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg = ap.add_argument
    arg("--state", type=Path, required=True, help="folder of the training state and its log")
    arg("--export", type=Path, help="write the checkpoint here and stop")
    arg("--init", type=Path, help="begin with the full stage from this checkpoint, where there is no state yet")
    arg("--pause", type=Path, help="wait while this file exists")
    arg("--seed", type=int, default=1)
    arg("--fonts", nargs="+", default=[sprites.NOTO], help="colour emoji fonts, the first complete")
    arg("--dense-scenes", type=int, default=40000, help="scenes of the dense stage")
    arg("--hard-from", type=int, default=40000, help="scenes get harder up to this one")
    arg("--dense-batch", type=int, default=12)
    arg("--dense-lr", type=float, default=2e-3)
    arg("--batch", type=int, default=4, help="images a step of the full stage")
    arg("--mask-rows", type=int, default=5, help="prompts a step that train masks")
    arg("--plain", action="store_true", help="only the detector's own losses: after --init the helpers' heads know nothing")
    arg("--lr", type=float, default=6e-4)
    arg("--warm", type=int, default=60, help="steps over which the rate rises at the start of a stage")
    arg("--vit-lr", type=float, default=0.5, help="the image encoder's share of the rate in the full stage; 0 freezes it")
    arg("--decay-from", type=int, help="prompts at which the rate begins to fall")
    arg("--decay-to", type=int, help="prompts at which it has fallen, and training ends")
    arg("--lr-end", type=float, default=0.03)
    arg("--clip", type=float, default=10.0)
    arg("--average", type=float, default=0.998, help="memory of the moving average of the weights")
    arg("--device", default="cpu")
    arg("--workers", type=int, default=1, help="processes that draw scenes")
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
    if a.device != "cpu":
        torch.set_float32_matmul_precision("high")
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)    # gradients of what is sure are denormal numbers, which CPUs are slow with
    log = open(a.state / "log.txt", "a", buffering=1)
    say = lambda text: print(time.strftime("%H:%M:%S"), text, file=log)
    say(f"start {t.n} {vars(a)}")
    saved = last = time.time()
    sums, n = {}, 0
    loader = torch.utils.data.DataLoader(Stream(a, t.n["scenes"]), batch_size=None, num_workers=a.workers, prefetch_factor=4)
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
