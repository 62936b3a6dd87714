"""Draws the sample pictures: samples/NAME.jpg and samples/samples.json, the phrases to try on them.

    python samples.py
"""
import json
from pathlib import Path

from PIL import Image

import backgrounds
import scenes

# name: (what stands in it: [(concept, size, one colour a thing or None)], background, phrases to try: of
# those that the model answers rightly, seed)
PICTURES = {
    "meadow": ([("cow", .22, [None] * 2), ("dog", .16, [None] * 3), ("tree", .26, [None] * 2), ("butterfly", .11, ["blue", "orange"])],
               "land", ["dogs", "cow", "butterfly"], 1),
    "fruit": ([("apple", .17, ["red", "red", "green"]), ("banana", .2, [None] * 2), ("strawberry", .15, [None] * 3), ("pineapple", .26, [None])],
              "plain", ["apple", "red apple", "green apple", "pineapple"], 2),
    "traffic": ([("car", .2, ["red", "blue", "red", "yellow"]), ("bus", .26, [None]), ("bicycle", .2, [None] * 2)],
                "room", ["car", "red car", "blue car", "bus"], 3),
    "sky": ([("balloon", .2, ["red", "yellow", "blue", "red"]), ("airplane", .2, [None]), ("bird", .13, ["blue"] * 3), ("sun", .2, [None])],
            "land", ["balloon", "red balloon", "blue bird", "airplane"], 4),
    "party": ([("cake", .22, [None] * 2), ("donut", .16, [None] * 3), ("ice cream", .18, [None] * 2), ("heart", .12, ["red", "pink", "blue"])],
              "gradient", ["cake", "donuts", "pink heart", "blue heart"], 5),
    "sea": ([("fish", .15, ["blue", "yellow", "orange", "blue"]), ("turtle", .22, [None] * 2), ("boat", .26, [None])],
            "clouds", ["fish", "turtle", "boat"], 6),
    "desk": ([("book", .2, ["red", "blue", "green", "blue"]), ("scissors", .16, [None]), ("clock", .18, [None]), ("key", .13, [None] * 2)],
             "tiles", ["book", "blue book", "green book", "alarm clock"], 7),
    "shapes": ([("circle", .16, ["red", "blue", "green"]), ("square", .15, ["yellow", "purple"]), ("triangle", .18, ["orange", "blue"]), ("star", .17, ["yellow", "red"])],
               "gradient", ["circle", "triangle", "blue triangle", "purple square"], 8),
    "zoo": ([("elephant", .3, [None]), ("giraffe", .3, [None] * 2), ("penguin", .16, [None] * 3), ("monkey", .18, [None])],
            "land", ["giraffe", "penguins", "monkey"], 9),
}


def main():
    out = Path(__file__).resolve().parent / "samples"
    out.mkdir(exist_ok=True)
    index = []
    for name, (rows, ground, phrases, seed) in PICTURES.items():
        plans = [scenes.Plan(concept, len(colours), size, colours) for concept, size, colours in rows]
        kind = getattr(backgrounds, ground)
        scene = scenes.draw_scene(f"sample {seed}", 640, 480, plans=plans, hard=0.5, ground=kind)
        Image.fromarray(scene.image).save(out / f"{name}.jpg", quality=88)
        index.append({"image": f"{name}.jpg", "phrases": phrases})
    (out / "samples.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
