"""Losses of SAM 3's detector: presence, focal classification, L1 and GIoU boxes, focal and dice masks, after Hungarian
matching, on every decoder layer; and helpers that make a small model learn sooner: each object also teaches its few
nearest queries, and the fused patches and the bare patches are told what they show.

T is the largest number of objects a prompt of the batch has.
"""
import math

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import nn

from concepts import NAMES
from network import GRID, VIT, WIDTH

WEIGHTS = dict(cls=4.0, box=5.0, giou=2.0, presence=2.0, mask=10.0, dice=4.0, whole=1.0,
               many_box=5.0, many_giou=2.0, many_dice=1.0, patch=1.0, patch_box=2.0, phrase=0.5, which=1.0, concept=1.0, part=2.0, part_box=3.0)
FUSED = ("patch", "patch_box")    # the losses of TrainingHeads.fused
MANY = 4                # nearest queries an object teaches beside its own
ALPHA = 0.92, 0.55      # weight of found against not found in the classification, of prompts with and without example boxes


class TrainingHeads(nn.Module):
    """Linear heads used in training only."""

    def __init__(self):
        super().__init__()
        self.fused = nn.Linear(WIDTH, 5)               # fused patch: is it asked for; left, top, right, bottom
        self.part = nn.Linear(VIT, 16)                 # bare patch: its 4 x 4 sub-patches belong to a thing
        self.part_box = nn.Linear(VIT, 4)              # bare patch: the box of its thing
        self.concept = nn.Linear(VIT, len(NAMES))      # bare patch: the concept it shows
        self.scale = nn.Parameter(torch.tensor(0.0))   # phrase against patch
        self.bias = nn.Parameter(torch.tensor(-6.0))
        for m in (self.fused, self.part, self.part_box, self.concept):
            nn.init.normal_(m.weight, std=0.02)
            nn.init.zeros_(m.bias)
        nn.init.constant_(self.fused.bias[:1], -2.0)


def corners(b):
    return torch.cat([b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2], -1)


def giou(a, b):
    """Generalised IoU of xyxy boxes, broadcast."""
    area = lambda x: (x[..., 2:] - x[..., :2]).prod(-1)
    inter = (torch.min(a[..., 2:], b[..., 2:]) - torch.max(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = area(a) + area(b) - inter
    hull = (torch.max(a[..., 2:], b[..., 2:]) - torch.min(a[..., :2], b[..., :2])).prod(-1)
    return inter / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def focal(logits, target, alpha):
    p = logits.sigmoid()
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    miss = torch.where(target > 0.5, 1 - p, p)
    return torch.where(target > 0.5, alpha, 1 - alpha) * miss ** 2 * ce


def dice(logits, target):
    """[M, H, W] -> [M]."""
    p = logits.sigmoid()
    return 1 - (2 * (p * target).sum((1, 2)) + 1) / (p.sum((1, 2)) + target.sum((1, 2)) + 1)


@torch.no_grad()
def match(out, boxes, count):
    """Index rows (layer, prompt, query, object) of the one-to-one and of the one-to-many matches."""
    near = 5 * (out["boxes"][:, :, :, None] - boxes[None, :, None]).abs().sum(-1)
    near = near - 2 * giou(corners(out["boxes"])[:, :, :, None], corners(boxes)[None, :, None])      # [L, N, Q, T]
    p = out["logits"].sigmoid()[..., None]
    cost = (near + 2 * (0.5 * (1 - p) ** 2 * -(p + 1e-8).log() - 0.5 * p ** 2 * -(1 - p + 1e-8).log())).cpu().numpy()
    one = []
    for l in range(cost.shape[0]):
        for n, k in enumerate(count):
            if k:
                q, t = linear_sum_assignment(cost[l, n, :, :k])
                one += [(l, n, a, b) for a, b in zip(q.tolist(), t.tolist())]
    best = near.topk(MANY, 2, largest=False).indices                                                # [L, N, MANY, T]
    L, N, _, T = best.shape
    grid = torch.stack(torch.meshgrid(*(torch.arange(s, device=best.device) for s in best.shape), indexing="ij"), -1)
    many = torch.stack([grid[..., 0], grid[..., 1], best, grid[..., 3]], -1)
    real = torch.arange(T, device=best.device) < torch.as_tensor(count, device=best.device)[:, None]   # [N, T]
    many = many[real[None, :, None].expand_as(best)]
    return torch.tensor(one, device=best.device).view(-1, 4), many


def patch_boxes(raw):
    """Distances from the patch centres, exp(raw) / 10, to xyxy; raw [..., GRID * GRID, 4]."""
    at = (torch.arange(GRID, device=raw.device) + 0.5) / GRID
    y, x = torch.meshgrid(at, at, indexing="ij")
    centre = torch.stack([x, y], -1).view(-1, 2)
    d = 0.1 * raw.clamp(-5, 3).exp()
    return torch.cat([centre - d[..., :2], centre + d[..., 2:]], -1)


def dense_losses(heads, spatial, feature, words, b):
    """What bare patches show.  spatial [B, VIT, G, G], feature [B, D, G, G], words [K, D] one a phrase."""
    tokens, f = spatial.flatten(2).transpose(1, 2), feature.flatten(2).transpose(1, 2)
    words = words - words.mean(0)             # what all phrases share (start, end, articles) would drown the difference
    words = words / words.pow(2).mean().sqrt()
    logits = f @ words.T * heads.scale.exp() / math.sqrt(WIDTH) + heads.bias                # [B, G*G, K]
    owned = b["owner"] >= 0                                                                 # [B, G*G]
    fits = torch.where(owned[..., None], b["fits"][b["owner"].clamp(min=0)], 0)             # 1, 0, or -1: unclear
    bce = F.binary_cross_entropy_with_logits(logits, (fits > 0).float(), reduction="none") * (fits >= 0)
    out = dict(phrase=bce.sum() / owned.sum().clamp(min=1))
    part = heads.part(tokens).view(-1, GRID, GRID, 4, 4).permute(0, 1, 3, 2, 4).reshape(len(f), 4 * GRID, 4 * GRID)
    out["part"] = F.binary_cross_entropy_with_logits(part, b["part"])
    box = patch_boxes(heads.part_box(tokens))[owned]
    out["part_box"] = (box - b["thing_box"][b["owner"][owned]]).abs().mean() * 4
    some = owned & (fits[..., :len(NAMES)] > 0).any(-1)                                     # phrases begin with NAMES
    name, guess = fits[..., :len(NAMES)][some].argmax(-1), logits[..., :len(NAMES)][some]
    if len(name):
        out["which"] = F.cross_entropy(guess, name)
        out["concept"] = F.cross_entropy(heads.concept(tokens[some]), name)
        out["acc"] = (guess.argmax(-1) == name).float().mean().detach()
    return out


def prompt_losses(heads, out, b):
    """What the detector answers.  b: given [N, K], count [N] list, target [N, T, 4] cxcywh, rows [R],
    row_masks [R, T, 4 GRID, 4 GRID] soft, patch [N, G*G] float: the share of a patch that is asked for,
    patch_target [N, G*G, 4] xyxy."""
    count, target = b["count"], b["target"]
    objects = max(1, sum(count))
    has = torch.tensor([float(c > 0) for c in count], device=target.device)
    one, many = match(out, target, count)
    d = dict(presence=F.binary_cross_entropy_with_logits(out["presence"], has.expand_as(out["presence"])) * len(out["presence"]))
    truth = torch.zeros_like(out["logits"])
    truth[one[:, 0], one[:, 1], one[:, 2]] = 1
    alpha = torch.where(b["given"].any(1), *ALPHA)[None, :, None]
    d["cls"] = (focal(out["logits"], truth, alpha) * has[None, :, None]).sum() / objects
    for name, m in (("", one), ("many_", many)):
        norm = objects * (1 if name == "" else MANY)
        got, want = out["boxes"][m[:, 0], m[:, 1], m[:, 2]], target[m[:, 1], m[:, 3]]
        d[name + "box"] = (got - want).abs().sum() / norm
        d[name + "giou"] = (1 - giou(corners(got), corners(want))).sum() / norm
    fused = heads.fused(out["patches"])
    share = b["patch"]
    d["patch"] = F.binary_cross_entropy_with_logits(fused[..., 0], share, reduction="sum") / (share > 0.35).sum().clamp(min=1)
    on = share > 0.35
    if on.any():
        d["patch_box"] = (patch_boxes(fused[..., 1:])[on] - b["patch_target"][on]).abs().mean() * 4
    if "masks" in out:
        place = {int(r): i for i, r in enumerate(b["rows"])}
        last = len(out["logits"]) - 1
        for name, m in (("", one), ("many_", many)):
            m = [(place[n], q, t) for l, n, q, t in m.tolist() if l == last and n in place]
            if not m:
                continue
            r, q, t = torch.tensor(m, device=target.device).T
            got, want = out["masks"][r, q], b["row_masks"][r, t]
            d[name + "dice"] = dice(got, want).mean()
            if name == "":
                d["mask"] = focal(got, want, 0.25).mean()
        whole = b["row_masks"].amax(1)
        d["whole"] = F.binary_cross_entropy_with_logits(out["whole"], whole) + dice(out["whole"], whole).mean()
    return d


def total(parts):
    return sum(WEIGHTS[k] * v for k, v in parts.items() if k in WEIGHTS)
