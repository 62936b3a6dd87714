#!/usr/bin/env python3
"""Makes data/label_font.ttf, the letters of overlay labels: DejaVu Sans Bold cut down to what labels need.

    apt install fonts-dejavu-core; pip install fonttools
    tools/make_font.py /usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf data/label_font.ttf
"""
import sys

from fontTools import subset

RANGES = [
    (0x0020, 0x007E), (0x00A0, 0x017F),  # Latin, Latin-1, Latin Extended-A
    (0x0218, 0x021B), (0x1E9E, 0x1E9E),  # Romanian, capital sharp s
    (0x0384, 0x03CE),  # Greek
    (0x0400, 0x045F), (0x0490, 0x0491),  # Cyrillic
    (0x2010, 0x2026), (0x2030, 0x203A),  # dashes, quotes, ellipsis
    (0x20AC, 0x20AC), (0x2122, 0x2122), (0x2190, 0x2193), (0x2212, 0x2212), (0xFFFD, 0xFFFD),
]

source, target = sys.argv[1:]
options = subset.Options(
    hinting=False, layout_features=[], notdef_outline=True, glyph_names=False, name_IDs=[0, 1, 2, 4, 13, 14],
    drop_tables=["GDEF", "GPOS", "GSUB", "kern", "FFTM", "post"], canonical_order=True, recalc_timestamp=False)
font = subset.load_font(source, options)
subsetter = subset.Subsetter(options)
subsetter.populate(unicodes=[c for first, last in RANGES for c in range(first, last + 1)])
subsetter.subset(font)
subset.save_font(font, target, options)
