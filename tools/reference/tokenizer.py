"""CLIP's byte-pair tokenizer with the text cleaning of Meta's code. Needs ftfy and regex."""
import gzip
import html
import math
from pathlib import Path

import ftfy
import regex

MERGES = Path(__file__).resolve().parents[2] / "data" / "clip_merges.txt.gz"
START, END = 49406, 49407
WORDS = regex.compile(r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
                      regex.IGNORECASE)
SPACE = regex.compile(r"\s+")


class Tokenizer:
    def __init__(self, path=MERGES):
        with gzip.open(path, "rt", encoding="utf-8") as f:
            merges = [tuple(line.split()) for line in f.read().splitlines()[1:] if line]
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [b for b in range(256) if b not in printable]
        self.byte = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
        letters = [self.byte[b] for b in printable + others]
        vocabulary = letters + [c + "</w>" for c in letters] + [a + b for a, b in merges]
        self.id = {t: i for i, t in enumerate(vocabulary)} | {"<start_of_text>": START, "<end_of_text>": END}
        if len(self.id) != END + 1:
            raise ValueError(f"{path}: {len(merges)} merges")
        self.rank = {m: i for i, m in enumerate(merges)}

    def pieces(self, word):
        if word in ("<start_of_text>", "<end_of_text>"):
            return [word]
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda p: self.rank.get(p, math.inf))
            if pair not in self.rank:
                break
            joined, i = [], 0
            while i < len(parts):
                step = 2 if tuple(parts[i:i + 2]) == pair else 1
                joined.append("".join(parts[i:i + step]))
                i += step
            parts = joined
        return parts

    def __call__(self, text, context=32):
        """Ids with start and end, at most `context`, unpadded."""
        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        text = SPACE.sub(" ", text).strip().lower()
        ids = [START]
        for word in WORDS.findall(text):
            ids += [self.id[p] for p in self.pieces("".join(self.byte[b] for b in word.encode()))]
        ids.append(END)
        return ids if len(ids) <= context else ids[:context - 1] + [END]
