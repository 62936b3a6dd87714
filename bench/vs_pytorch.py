#!/usr/bin/env python3
"""sam3 beside PyTorch: full-size model with random weights, one image, one phrase, the same cores, in turns.

  bench/vs_pytorch.py --program build/src/cli/sam3 [--pairs 3] [--threads N] [--model DIR] [--image FILE] [--json FILE]
                      [--dtype bf16] [--peer-dtype bf16]

Each pair is one run of `sam3 bench` (one run that does not count, then one that does) and then one of transformers'
Sam3Model (attention "sdpa", its fastest on CPUs) in this process, which has run once before the first pair. Both have
the model loaded and the image decoded, and are timed from the pixels to the ten best masks at the size of the image.
docs/benchmarks.md says what is compared. Needs what tools/reference/requirements.txt lists.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "reference"))
import make_model  # noqa: E402
import presets  # noqa: E402

TEXT = "red car"
MASKS = 10  # as sam3 bench has them


class Torch:
    """transformers' own forward, with the time of each part."""

    PARTS = {"vision": "vision_encoder.backbone", "neck": "vision_encoder.neck", "text": "text_encoder",
             "fusion": "detr_encoder", "decoder": "detr_decoder", "masks": "mask_decoder"}

    def __init__(self, folder, threads, dtype="f32"):
        import torch

        import network
        torch.set_num_threads(threads)
        self.torch, self.network = torch, network.Network(folder)
        if dtype == "bf16":
            self.network.model.bfloat16()
        self.dtype = self.network.model.dtype
        self.versions = {"torch": torch.__version__, "transformers": __import__("transformers").__version__}
        self.milliseconds = {}
        for part, module in self.PARTS.items():
            module = self.network.model.get_submodule(module)
            module.register_forward_pre_hook(lambda *_, p=part: self.note(p, -time.perf_counter()))
            module.register_forward_hook(lambda *_, p=part: self.note(p, time.perf_counter()))

    def note(self, part, seconds):
        self.milliseconds[part] = self.milliseconds.get(part, 0) + 1e3 * seconds

    def prompt(self, vision, ids, mask, height, width):
        out = self.network.model(vision_embeds=vision, input_ids=ids, attention_mask=mask)
        scores = out.pred_logits[0].sigmoid() * out.presence_logits[0].sigmoid()
        best = scores.topk(min(MASKS, len(scores))).indices
        up = self.torch.nn.functional.interpolate(out.pred_masks[:, best], size=(height, width), mode="bilinear",
                                                  align_corners=False)
        return up > 0

    def run(self, image):
        """Milliseconds: encode, first prompt, further prompt, and the parts of the first two."""
        height, width = image.shape[:2]
        ids = self.torch.full((1, self.network.context), 49407)
        tokens = self.network.tokenizer(TEXT, self.network.context)
        ids[0, :len(tokens)] = self.torch.tensor(tokens)
        mask = (self.torch.arange(self.network.context) < len(tokens)).long()[None]
        self.milliseconds.clear()
        clock = [time.perf_counter()]
        vision = self.network.model.vision_encoder(self.network.pixels(image).to(self.dtype))
        clock.append(time.perf_counter())
        self.prompt(vision, ids, mask, height, width)
        clock.append(time.perf_counter())
        parts = dict(self.milliseconds)
        self.prompt(vision, ids, mask, height, width)
        clock.append(time.perf_counter())
        encode, first, further = (1e3 * (b - a) for a, b in zip(clock, clock[1:]))
        return {"encode_ms": encode, "first_prompt_ms": first, "further_prompt_ms": further, "parts": parts}


def run_program(program, model, image, device, dtype):
    command = [program, "bench", "-m", model, "--image", image, "-p", TEXT, "-n", "1", "-d", device, "--dtype", dtype,
               "--json"]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{program} bench failed")
    return json.loads(done.stdout)


def first(run):
    return run["encode_ms"] + run["first_prompt_ms"]


def further(run):
    return run["further_prompt_ms"]


def report(result):
    print(f"\n{'':24}{'sam3':>10}{'PyTorch':>10}{'ratio':>8}")
    for name, of in (("image + first phrase, s", first), ("further phrase, s", further)):
        for i, (ours, theirs) in enumerate(result["pairs"], 1):
            a, b = of(ours) / 1e3, of(theirs) / 1e3
            print(f"{name if i == 1 else '':24}{a:10.2f}{b:10.2f}{a / b:8.3f}")
        key = "first" if of is first else "further"
        print(f"{'  median ratio':44}{result['ratio'][key]:8.3f}")
    ours, theirs = result["pairs"][-1]
    print(f"\nsam3, the last pair (peak {ours['peak_gflops']:.0f} GFLOP/s):")
    for s in ours["stages"]:
        print(f"  {s['name']:16}{s['ms']:10.1f} ms {s['gflops']:8.1f} GFLOP/s {100 * s['share']:5.0f} % of the peak")
    memory = ours.get("memory", {})
    if memory:
        print("  " + ", ".join(f"{k.replace('_', ' ')} {v / 1e9:.2f} GB" for k, v in memory.items()))
    print("PyTorch, the last pair:")
    for part, ms in theirs["parts"].items():
        print(f"  {part:16}{ms:10.1f} ms")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--program", default="build/src/cli/sam3")
    ap.add_argument("--model", type=Path, default=ROOT / "build" / "fullsize" / "full",
                    help="made when it is not there (3.4 GB)")
    ap.add_argument("--preset", default="full", help="of the model that is made")
    ap.add_argument("--image", type=Path, default=ROOT / "tests" / "e2e" / "images" / "street.jpg")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--pairs", type=int, default=3)
    ap.add_argument("--dtype", default="f32", choices=["f32", "bf16"], help="of sam3")
    ap.add_argument("--peer-dtype", default="f32", choices=["f32", "bf16"], help="of PyTorch")
    ap.add_argument("--json", type=Path, help="the whole report")
    ap.add_argument("--require", nargs=2, type=float, metavar=("FIRST", "FURTHER"),
                    help="fail unless the median ratios are at most these")
    a = ap.parse_args()
    if not (a.model / "config.json").exists():
        print(f"making {a.model}")
        make_model.make(a.model, presets.config(a.preset))

    cores = sorted(os.sched_getaffinity(0))[:a.threads]
    if len(cores) < a.threads or cores != list(range(cores[0], cores[0] + a.threads)):
        ap.error(f"--threads {a.threads}: this process may use the cores {cores}; sam3 wants neighbours")
    os.sched_setaffinity(0, cores)
    device = f"cpu:{cores[0]}-{cores[-1]}" if len(cores) > 1 else f"cpu:{cores[0]}"

    import images
    peer, image = Torch(a.model, a.threads, a.peer_dtype), images.read(a.image)
    peer.run(image)
    pairs = []
    for i in range(a.pairs):
        pairs.append((run_program(a.program, a.model, a.image, device, a.dtype), peer.run(image)))
        ours, theirs = pairs[-1]
        print(f"pair {i + 1}: sam3 {first(ours) / 1e3:.2f} + {further(ours) / 1e3:.2f} s, "
              f"PyTorch {first(theirs) / 1e3:.2f} + {further(theirs) / 1e3:.2f} s", flush=True)
    ratio = {name: statistics.median(of(x) / of(y) for x, y in pairs) for name, of in (("first", first), ("further", further))}
    result = {"model": a.model.name, "image": a.image.name, "threads": a.threads, "dtype": a.dtype,
              "peer_dtype": a.peer_dtype, **peer.versions, "pairs": pairs, "ratio": ratio}
    report(result)
    if a.json:
        a.json.write_text(json.dumps(result, indent=1) + "\n")
    if a.require and not (ratio["first"] <= a.require[0] and ratio["further"] <= a.require[1]):
        sys.exit(f"above {a.require[0]} or {a.require[1]}")


if __name__ == "__main__":
    main()
