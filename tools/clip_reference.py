"""The official tokenizer of SAM 3 restated over the libraries that it uses: ftfy, html, regex. What the C tokenizer
leaves out of it, ftfy's repair of mojibake, can be switched off. Needs CLIP's merges: data/clip_merges.txt.gz."""
import gzip
import html
from pathlib import Path

import ftfy
import regex

MERGES = Path(__file__).resolve().parent.parent / "data/clip_merges.txt.gz"
START, END = 49406, 49407


def byte_names():
    """CLIP's printable character for each byte, in CLIP's order."""
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names = {b: chr(b) for b in printing}
    for b in range(256):
        names.setdefault(b, chr(256 + len(names) - len(printing)))
    return names


class Tokenizer:
    def __init__(self, fix_encoding=False):
        self.fix_encoding = fix_encoding
        merges = [tuple(line.split(" ")) for line in gzip.open(MERGES, "rt", encoding="utf-8").read().split("\n")[1:-1]]
        self.bytes = byte_names()
        symbols = [*self.bytes.values(), *(c + "</w>" for c in self.bytes.values()), *map("".join, merges)]
        self.ids = {s: i for i, s in enumerate([*symbols, "<start_of_text>", "<end_of_text>"])}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.pieces = regex.compile(
            r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
            regex.IGNORECASE)

    def clean(self, text):
        text = ftfy.fix_text(text, fix_encoding=self.fix_encoding)
        text = html.unescape(html.unescape(text)).strip()
        return regex.sub(r"\s+", " ", text).strip().lower()

    def symbols(self, piece):
        if piece in ("<start_of_text>", "<end_of_text>"):
            return [piece]
        word = [self.bytes[b] for b in piece.encode("utf-8")]
        word[-1] += "</w>"
        while len(word) > 1:
            best = min(zip(word, word[1:]), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            merged, i = [], 0
            while i < len(word):
                n = 2 if tuple(word[i:i + 2]) == best else 1
                merged.append("".join(word[i:i + n]))
                i += n
            word = merged
        return word

    def __call__(self, text, context):
        ids = [self.ids[s] for piece in self.pieces.findall(self.clean(text)) for s in self.symbols(piece)]
        return [START, *ids[:context - 2], END]
