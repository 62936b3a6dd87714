"""How well a checkpoint finds things in scenes it has not seen.

    python evaluate.py --sam3 build/sam3 [--model models/demo] [--scenes 300]
    python evaluate.py --engine torch                                            the same through transformers

Scenes have seeds of their own and, every second one, backgrounds of kinds that training never shows.  Each is asked for
what it shows (by any of its words, and in colours), for what it does not show, and for more of what an example box shows.
Printed: presence AUROC; at score 0.5 and mask IoU 0.5 precision, recall and the mean IoU of the matched; cgF1 as in the
SAM 3 paper; the recall of an example's other instances, and the precision of what an example finds.
"""
import argparse
import json
import random
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

import concepts as C
import prompts as P
import scenes
import sprites

HERE = Path(__file__).resolve().parent
SIZES = ((640, 480), (512, 512), (480, 640), (800, 450))


def questions(rng, scene):
    """[(prompt JSON, indices of the wanted things, index of the example or None)] of one scene."""
    h, w = scene.image.shape[:2]
    out = [({"text": p.text, "boxes": []}, p.targets, None) for p in P.text_prompts(rng, scene)]
    by = defaultdict(list)
    for i, t in enumerate(scene.things):
        by[t.name].append(i)
    many = [n for n in by if len(by[n]) > 1 and n in C.CONCEPTS]
    if many:
        ids = by[rng.choice(many)]
        given = max(ids, key=lambda i: scene.things[i].mask.sum())
        box = {"box": list(scene.things[given].box), "label": 1}
        out.append(({"text": None, "boxes": [box]}, ids, given))
    return out


class Program:
    """The C program. Answers: [{"presence": p, "detections": [{"score": s, "mask": RLE}]}], one a prompt."""

    def __init__(self, binary, model, extra):
        self.command = [binary, "segment", "-m", str(model), *extra]

    def __call__(self, image, asked):
        with tempfile.TemporaryDirectory() as d:
            png, prompts = Path(d) / "scene.png", Path(d) / "prompts.json"
            Image.fromarray(image).save(png)
            prompts.write_text(json.dumps(asked))
            done = subprocess.run([*self.command, png, "--prompts", prompts, "--json", "-"], capture_output=True, check=True)
            return json.loads(done.stdout)["results"]


class Transformers:
    """The same answers from transformers' modules, run as the official code does."""

    def __init__(self, model):
        import torch
        import network
        self.t, self.n = torch, network
        self.model = network.prepare(network.Sam3Model.from_pretrained(model, dtype=torch.float32)).eval()
        self.tokens = network.Tokenizer()

    def __call__(self, image, asked):
        t, n = self.t, self.n
        h, w = image.shape[:2]
        px = t.from_numpy(image.copy()).permute(2, 0, 1)[None]
        px = t.nn.functional.interpolate(px, size=(n.SIZE, n.SIZE), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
        k = max(len(p["boxes"]) for p in asked)
        boxes, labels = t.full((len(asked), k, 4), 0.5), t.zeros(len(asked), k, dtype=t.long)
        given = t.zeros(len(asked), k, dtype=t.bool)
        for i, p in enumerate(asked):
            for j, b in enumerate(p["boxes"]):
                x0, y0, x1, y1 = b["box"]
                boxes[i, j] = t.tensor([(x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h])
                labels[i, j], given[i, j] = b["label"], True
        ids, mask = self.tokens(["visual" if p["text"] is None else p["text"] for p in asked])
        image_of = t.zeros(len(asked), dtype=t.long)
        with t.no_grad():
            out = n.forward(self.model, n.Batch(n.pixels(px), ids, mask, image_of, boxes, labels, given))
        answers = []
        for i in range(len(asked)):
            presence = out["presence"][-1, i].sigmoid()
            scores = out["logits"][-1, i].sigmoid() * presence
            keep = (scores > 0.5).nonzero()[:, 0]
            found = []
            for q in keep.tolist():
                big = t.nn.functional.interpolate(out["masks"][i, q][None, None], size=(h, w), mode="bilinear")[0, 0] > 0
                found.append({"score": scores[q].item(), "mask": rle.encode(np.asfortranarray(big.numpy().astype(np.uint8)))})
            answers.append({"presence": presence.item(), "detections": found})
        return answers


def pairs(detections, things):
    """IoU of the best one-to-one matching: [(detection, thing, iou)] with iou > 0."""
    if not detections or not things:
        return []
    truth = [rle.encode(np.asfortranarray(t.mask.astype(np.uint8))) for t in things]
    iou = rle.iou([d["mask"] for d in detections], truth, [0] * len(truth))
    return [(d, t, iou[d, t]) for d, t in zip(*linear_sum_assignment(-iou)) if iou[d, t] > 0]


def auroc(positive, negative):
    rank = rankdata(np.concatenate([positive, negative]))[:len(positive)].sum()
    return (rank - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))


class Tally:
    """What the answers add up to."""

    def __init__(self):
        self.presence, self.ious, self.named = ([], []), [], defaultdict(lambda: [0, 0, 0])
        self.tp = self.found = self.wanted = 0
        self.like_tp = self.like_found = self.others = self.others_found = 0   # of examples
        self.image = np.zeros((2, 2), int)                                     # [thing there, something found]
        self.micro = np.zeros((10, 3))                                         # tp, fp, fn at IoU 0.5, 0.55 ... 0.95

    def text(self, answer, things, name):
        got, want = len(answer["detections"]), len(things)
        iou = np.array([v for _, _, v in pairs(answer["detections"], things)])
        good = iou[iou >= 0.5]
        self.presence[0 if want else 1].append(answer["presence"])
        self.ious += good.tolist()
        self.tp, self.found, self.wanted = self.tp + len(good), self.found + got, self.wanted + want
        self.named[name] = [a + b for a, b in zip(self.named[name], (len(good), got, want))]
        self.image[int(want > 0), int(got > 0)] += 1
        if want:
            hits = (iou[None] >= np.arange(0.5, 1, 0.05)[:, None] - 1e-9).sum(1)
            self.micro += np.stack([hits, got - hits, want - hits], 1)

    def example(self, answer, ids, given, scene):
        found = [ids[t] for _, t, v in pairs(answer["detections"], [scene.things[i] for i in ids]) if v >= 0.5]
        self.like_tp, self.like_found = self.like_tp + len(found), self.like_found + len(answer["detections"])
        self.others += len(ids) - 1
        self.others_found += len([i for i in found if i != given])

    def report(self):
        (tn, fp), (fn, tp) = self.image
        mcc = (tp * tn - fp * fn) / max(1e-9, np.sqrt(float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))))
        f1 = np.mean([2 * a / max(1, 2 * a + b + c) for a, b, c in self.micro])
        return dict(prompts=int(self.image.sum()), auroc=auroc(*self.presence), mean_iou=float(np.mean(self.ious or [0])),
                    precision=self.tp / max(1, self.found), recall=self.tp / max(1, self.wanted),
                    cgf1=100 * f1 * mcc, pmf1=100 * f1, il_mcc=mcc, exemplar_recall=self.others_found / max(1, self.others),
                    exemplar_precision=self.like_tp / max(1, self.like_found))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--engine", choices=("sam3", "torch"), default="sam3")
    ap.add_argument("--sam3", default="sam3", help="the program")
    ap.add_argument("--flag", action="append", default=[], help="one more flag for the program, as --flag=--dtype=bf16")
    ap.add_argument("--model", type=Path, default=HERE)
    ap.add_argument("--scenes", type=int, default=300)
    ap.add_argument("--seed", default="held out")
    ap.add_argument("--fonts", nargs="+", default=[sprites.NOTO])
    ap.add_argument("--concepts", action="store_true", help="also print each concept's precision and recall")
    a = ap.parse_args()
    engine = Transformers(a.model) if a.engine == "torch" else Program(a.sam3, a.model, a.flag)
    tally = Tally()
    for i in range(a.scenes):
        rng = random.Random(f"{a.seed} {i}")
        scene = scenes.draw_scene(f"{a.seed} {i}", *SIZES[i % len(SIZES)], fonts=tuple(a.fonts), held_out=i % 2 == 1)
        asked = questions(rng, scene)
        for (prompt, ids, given), answer in zip(asked, engine(scene.image, [q[0] for q in asked])):
            things = [scene.things[k] for k in ids]
            if given is None:
                tally.text(answer, things, things[0].name if things else "(absent)")
            else:
                tally.example(answer, ids, given, scene)
    print(json.dumps({k: round(float(v), 4) for k, v in tally.report().items()}))
    if a.concepts:
        for name, (tp, got, want) in sorted(tally.named.items(), key=lambda kv: kv[1][0] / max(1, kv[1][2])):
            print(f"{name:12} precision {tp / max(1, got):.2f} recall {tp / max(1, want):.2f} of {want}")


if __name__ == "__main__":
    main()
