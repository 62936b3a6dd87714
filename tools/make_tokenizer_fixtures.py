#!/usr/bin/env python3
"""Writes tests/text/tokens.json, texts with the ids that the official tokenizer gives them (its repair of mojibake
switched off): a line each, ["text", repetitions, [ids between start and end]]."""
import html.entities
import itertools
import json
import random
import unicodedata
from pathlib import Path

import compare_tokenizer
from clip_reference import Tokenizer

OUT = Path(__file__).resolve().parent.parent / "tests/text/tokens.json"
CONTEXT = 300

THINGS = """person|dog|cat|red car|yellow school bus|striped umbrella|wine glass|traffic light|fire hydrant|ear of corn
|the left shoe|player in white|kids' toys|men's hats|a woman's handbag|t-shirt|x-ray|3D printer|24/7 store sign|No. 5
|mother-in-law|visual|anything that's round|dog's collar|I'm|they're we've you'll he'd|ROCK'N'ROLL|don't stop|rock 'n' roll
|semi-transparent plastic bottle|all the people wearing glasses, except the waiter|what? who!? why?! ...and how!!!|#1 @home
|$9.99 50% off|a_b-c/d\\e|(parentheses) [brackets] {braces}|snow-capped mountains|photo of a cat. photo of a dog."""
SIZES = ["", "small ", "LARGE ", "Second-hand ", "the 2nd "]
LANGUAGES = ["東京タワー", "红色汽车", "빨간 자동차", "красная машина", "κόκκινο ΑΥΤΟΚΙΝΗΤΟ ΟΔΟΣ", "سيارة حمراء ١٢٣", "מכונית אדומה",
             "लाल कार १२३", "รถสีแดง", "xe hơi đỏ", "İstanbul'da KIRMIZI araba", "Weißer Käfer GROẞ STRASSE", "œuvre d’art",
             "ñandú ¿qué? ¡sí!", "ბრძოლა ᲛᲗᲐᲕᲠᲣᲚᲘ", "ՀԱՅԵՐԵՆ", "ᏣᎳᎩ", "ΑΣ ΑΣ. Α.Σ Σ ΣΣ 'Σ ΑΣ'Α ΑΣ' aΣ\u0345 aΣ\u0345b", "ǅ ǈ ǋ ǲ ĳ ŉ"]


def texts():
    for size, thing in itertools.product(SIZES, THINGS.replace("\n", "").split("|")):
        yield size + thing
    yield from LANGUAGES
    yield from ["", " ", "\n", "\0", "!", "a", "'", "'s", "'S", "s's'S'ſ", "<start_of_text>", "a<end_of_text>b", "<ſtart_of_text>",
                "<|startoftext|>", "!<start_of_text>", "<START_OF_TEXT>", "<start_of_text", "a\u0345b", "!\u0345!", "can&rsquo;t"]
    for form in ("&{};", "&{} ", "&{}x", "&amp;{};", "<&{};", "&{}&"):
        names = sorted({n.rstrip(";") for n in html.entities.html5})
        names = names if form == "&{};" else names[::23] + [n for n in names if n in html.entities.html5]
        for i in range(0, len(names), 12):
            yield " ".join(form.format(n) for n in names[i:i + 12])
    shouted = [n[:-1].upper() for n in sorted(html.entities.html5) if n == n.lower()]
    for i in range(0, len(shouted), 24):
        yield "".join(f"&{n};" for n in shouted[i:i + 24:2])
    for numbers in ([*range(0, 0xa1)], [38, 59, 60, 0xd7ff, 0xd800, 0xdfff, 0xfdd0, 0xfdef, 0xffff, 0x1fffe, 0x10ffff, 0x110000, 10**20]):
        for form in ("&#{};", "&#x{:x};", "&#X{:X} ", "<&#{};", "&amp;#{};", "&#0{}y"):
            for i in range(0, len(numbers), 20):
                yield "a".join(form.format(n) for n in numbers[i:i + 20])
    yield from ["&" + "amp;" * n + "lt;b&gt;" for n in (1, 2, 3, 9, 90)]
    yield from ["&lt;b&gt; &amp;\n<i> &EACUTE; &eacute;\n&EACUTE;", "1 < 2 &EACUTE;", "&#x;", "&#;", "&;", "&", "&\uff41mp;", "＆amp;"]
    for low, high in ((0, 0x180), (0x180, 0x250), (0x2b0, 0x300), (0x2000, 0x2070), (0x3000, 0x3040), (0xfb00, 0xfb20), (0xfe00, 0xfe10),
                      (0xff00, 0x10000)):
        for i in range(low, high, 16):
            yield "x".join(chr(c) for c in range(i, i + 16))
            yield " aΣ".join(chr(c) for c in range(i, i + 16))
    yield from ["\x1b[31mred\x1b[0m", "\x1b[1;31;42mx", "\x1b[", "\x1b[3", "\x1b[é", "\x1b[٣m٣", "\x1b[3\x00m", "\x1b\x1b[m", "\x1b[３ｍ",
                "a\r\nb\rc\nd\u2028e\u2029f\u0085g", "  two  spaces\t\ttabs\u3000wide\u00a0nbsp\u200bzero ", "\ufeffbom"]
    yield from ["e\u0301 é e\u0301\u0323 \u1e69 s\u0323\u0307 s\u0307\u0323 \u212b \u2126 \u212a \u0344 \u0958 \ufb1d", "\u1112\u1161\u11ab 한 하\u11ab",
                "a" + "\u0301\u0323" * 40, "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "²³½Ⅷⅷ①٣三", "ＬＯＵＤ　ｶﾞｷﾞ ﾊﾟ ￦￣", "ﬁﬂﬀﬃﬄﬅﬆ"]
    r = random.Random(7)
    for _ in range(900):
        yield compare_tokenizer.text(r)


def main():
    tokenizer = Tokenizer()
    lines = []
    cases = [(t, 1) for t in dict.fromkeys(texts())]
    cases += [("a", 200000), ("a dog ", 1000), ("é", 5000), ("!?", 5000), ("abcdefghij", 3000), ("ab\n", 300), ("&amp;", 400)]
    for text, n in cases:
        cleaned = tokenizer.clean(text * n)
        if any(unicodedata.category(c) == "Cn" for c in cleaned):
            continue  # may be assigned in a later version of Unicode
        lines.append(json.dumps([text, n, tokenizer(text * n, CONTEXT)[1:-1]], ensure_ascii=False, separators=(",", ":")))
    OUT.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(len(lines), "texts,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
