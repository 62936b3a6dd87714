#!/usr/bin/env python3
"""Runs random texts through the C tokenizer and through the official one, and prints where they differ.

    tools/compare_tokenizer.py build/tests/text/tokenize_lines [-n 100000] [--seed 1] [--mojibake] [--newer-unicode]

A difference is an error, except where Unicode versions differ: texts with characters that Python's own tables do not
know are left out, unless --newer-unicode. With --mojibake the official tokenizer also repairs mojibake, to measure how
often that matters."""
import argparse
import html.entities
import random
import subprocess
import sys
import unicodedata

from clip_reference import Tokenizer

WORDS = "a photo of red Car DON'T it's we'll THEY'VE i'm you're he'd O'Neil x-ray 3D 42 &amp &lt; <b> <start_of_text> " \
        "<end_of_text> <|startoftext|> <START_OF_TEXT> !? ... naïve Straße ΟΔΟΣ ΣΑΣ. İstanbul ﬁne ﬅop Ǆ １２ ＡＢ ｶﾞ “q” ‘s’ ʼn".split(" ")
SPECIAL = [*"ſKÅΩ´ΣσςİıŉĲǆﬀﬃﬆ　＆＃；＜＞ｶﾞﾟﾡￂ￣￥￮\u0345\u0344\u0387\u037e\u1fef\u0340\u2000\u212a\u2126",
           *"\r\n\t\v\f\0\b\x1b\x1c\x1f\x7f\x80\x85\x91\x94\x9f\xa0\xad\u1680\u180e\u200b\u200d\u2028\u2029\u202f\u205f\u2060",
           *"\u206a\ufeff\ufff9\ufffc\ufffd\ufdd0\uffff\U0001fffe\U0010ffff\u02bc\u2018\u201b\u201c\u201f\u200c\ufe0f",
           "\r\n", "\x1b[31m", "\x1b[", "\x1b[٣m", "\x1b[1;", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "e\u0301", "a\u0323\u0307", "ᄀ\u1161\u11a8",
           "가\u11a8", "\u0958", "\u0f43", "\ufb1d", "\u1100\u1161", "'", "'s", "'ſ", "''", "&", "&#", ";", "<", "amp;", "lt;"]
NAMES = sorted(html.entities.html5)
BLOCKS = [(0x20, 0x7f), (0xa0, 0x250), (0x250, 0x370), (0x370, 0x400), (0x400, 0x530), (0x590, 0x700), (0x900, 0xe00),
          (0x1100, 0x1200), (0x1e00, 0x2000), (0x2000, 0x2c00), (0x3000, 0x3200), (0x3400, 0xa000), (0xac00, 0xd7a4),
          (0xf900, 0xfb50), (0xfb50, 0x10000), (0x10000, 0x10900), (0x11000, 0x11500), (0x1d100, 0x1d800),
          (0x1f000, 0x1fa00), (0x20000, 0x20100), (0x300, 0x370), (0, 0x110000)]


def reference(r):
    kind = r.randrange(5)
    if kind == 0:
        number = r.choice([r.randrange(0x110010), r.randrange(256), r.randrange(0x80, 0xa0), 38, 59, 60, 0xd800, 10**12])
        return "&#" + r.choice([str(number), f"x{number:x}", f"X{number:X}", f"0{number}"]) + r.choice([";", ";", "", "z;"])
    name = r.choice(NAMES)
    if kind == 1:
        name = name.upper()
    if kind == 2:
        name = name[:r.randrange(len(name) + 1)] + r.choice(["", ";", "x", "é", "&"])
    return "&" + r.choice(["", "", "", "amp;", "amp;amp;", "amp"]) + name


def text(r):
    parts = []
    for _ in range(r.choice([1, 2, 3, 5, 8, 20])):
        kind = r.randrange(10)
        if kind < 3:
            parts.append(r.choice(WORDS))
        elif kind < 5:
            parts.append("".join(r.choices(SPECIAL, k=r.randrange(1, 5))))
        elif kind == 5:
            parts.append(reference(r))
        elif kind == 6:
            parts.append("".join(chr(r.randrange(0x300, 0x370)) for _ in range(r.choice([1, 2, 3, 90]))))
        elif kind == 7:
            parts.append("".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=r.randrange(1, 40))))
        else:
            low, high = r.choice(BLOCKS)
            parts.append("".join(chr(r.randrange(low, high)) for _ in range(r.randrange(1, 8))))
        if r.randrange(2):
            parts.append(r.choice("      \t\n\u3000"))
    return "".join(c for c in "".join(parts) if not 0xd800 <= ord(c) < 0xe000)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("program")
    options.add_argument("-n", type=int, default=100000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--mojibake", action="store_true")
    options.add_argument("--newer-unicode", action="store_true")
    o = options.parse_args()
    r = random.Random(o.seed)
    texts = [text(r) for _ in range(o.n)]
    lines = subprocess.run([o.program, "400"], input="".join(t.encode().hex() + "\n" for t in texts), text=True,
                           stdout=subprocess.PIPE, check=True).stdout.splitlines()
    tokenizer = Tokenizer(o.mojibake)
    compared = wrong = 0
    for t, line in zip(texts, lines, strict=True):
        # Python's tables are those of ftfy, html and lower(); regex brings newer ones.
        if not o.newer_unicode and any(unicodedata.category(c) == "Cn" for c in tokenizer.clean(t)):
            continue
        compared += 1
        ids = tokenizer(t, 400)
        if ids != [int(i) for i in line.split()]:
            wrong += 1
            if wrong <= 20:
                print(ascii(t), ids, line, sep="\n  ")
    print(f"{wrong} of {compared} texts differ (Unicode {unicodedata.unidata_version}, seed {o.seed})")
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
