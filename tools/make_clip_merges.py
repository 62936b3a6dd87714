#!/usr/bin/env python3
"""Writes data/clip_merges.txt.gz from CLIP's bpe_simple_vocab_16e6.txt.gz: the 48,894 merges that CLIP uses of its
262,144, in the layout of a merges.txt.

    tools/make_clip_merges.py bpe_simple_vocab_16e6.txt.gz"""
import gzip
import hashlib
import sys
from pathlib import Path

SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
N_MERGES = 49152 - 256 - 2  # CLIP: vocabulary of 2 * 256 byte symbols, the merges, 2 special tokens
OUT = Path(__file__).resolve().parent.parent / "data/clip_merges.txt.gz"


def main():
    packed = Path(sys.argv[1]).read_bytes()
    assert hashlib.sha256(packed).hexdigest() == SHA256, "not CLIP's bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : 1 + N_MERGES]
    OUT.write_bytes(gzip.compress(("#version: 0.2\n" + "\n".join(lines) + "\n").encode("utf-8"), 9, mtime=0))


if __name__ == "__main__":
    main()
