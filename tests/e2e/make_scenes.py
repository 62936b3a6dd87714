"""Draws scenes/: pictures by the demo model's generator with seeds of their own, and what each shows.

    python make_scenes.py          needs what models/demo/scenes.py needs

scenes.json: [{"image", "prompts": [{"text", "boxes": [[x0, y0, x1, y1] of every thing it means]}]}]
"""
import json
import random
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "models" / "demo"))
import prompts  # noqa: E402
import scenes  # noqa: E402

COUNT, SIZES = 16, ((480, 360), (400, 400), (360, 480))


def main():
    out = HERE / "scenes"
    out.mkdir(exist_ok=True)
    index = []
    for i in range(COUNT):
        seed = f"end to end {i}"
        scene = scenes.draw_scene(seed, *SIZES[i % len(SIZES)], held_out=i % 2 == 1)
        asked = prompts.text_prompts(random.Random(seed), scene)
        Image.fromarray(scene.image).save(out / f"{i:02}.jpg", quality=85)
        index.append({"image": f"{i:02}.jpg", "prompts": [
            {"text": p.text, "boxes": [list(map(int, scene.things[k].box)) for k in p.targets]} for p in asked]})
    rows = ",\n".join(json.dumps(row) for row in index)
    (out / "scenes.json").write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
