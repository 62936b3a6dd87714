import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fuse, promptsOf, quarters, runsOverlap } from '../../../web/fusion.js';
import { LEVELS, refine } from '../../../web/refine.js';
import { decodeRuns, encodeRuns, runsArea, runsBounds, runsContain } from '../../../web/rle.js';

/** The runs of the pixels of an image that are inside. */
function draw(width, height, inside) {
  const runs = [];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (!inside(x, y)) continue;
      const at = x * height + y;
      if (runs.at(-1) === at) runs[runs.length - 1]++;
      else runs.push(at, at + 1);
    }
  }
  return Uint32Array.from(runs);
}
const disc = (cx, cy, r) => (x, y) => (x - cx) ** 2 + (y - cy) ** 2 <= r * r;

test('run lengths are written as pycocotools writes them', () => {
  for (const { size: [height, width], counts } of JSON.parse(readFileSync(new URL('rle.json', import.meta.url), 'utf8'))) {
    assert.equal(encodeRuns(decodeRuns(counts, height, width), height * width), counts);
  }
});

test('level 0 and empty masks stay as they are', () => {
  const runs = draw(40, 30, disc(20, 15, 9));
  assert.equal(refine(runs, 30, 40, 0), runs);
  const none = new Uint32Array();
  assert.equal(refine(none, 30, 40, 3), none);
});

test('specks go, holes are filled, the shape stays', () => {
  const hole = disc(60, 50, 1);
  const speck = (x, y) => x === 5 && y > 80 && y < 84;
  const clean = draw(120, 100, disc(60, 50, 30));
  const rough = draw(120, 100, (x, y) => (disc(60, 50, 30)(x, y) && !hole(x, y)) || speck(x, y));
  for (let level = 1; level < LEVELS.length; level++) {
    const refined = refine(rough, 100, 120, level);
    assert.equal(runsContain(refined, 100, 5, 82), false, `speck at ${level}`);
    assert.equal(runsContain(refined, 100, 60, 50), true, `hole at ${level}`);
    assert.ok(runsOverlap(refined, clean) / runsArea(clean) > 0.98, `level ${level}`);
    assert.ok(runsArea(refined) < runsArea(clean) * 1.02);
  }
});

test('a large hole and a second large part stay', () => {
  const ring = draw(200, 200, (x, y) => disc(100, 100, 60)(x, y) && !disc(100, 100, 30)(x, y));
  assert.equal(runsContain(refine(ring, 200, 200, 3), 200, 100, 100), false);
  const two = draw(200, 100, (x, y) => disc(50, 50, 25)(x, y) || disc(150, 50, 20)(x, y));
  assert.equal(runsContain(refine(two, 100, 200, 2), 100, 150, 50), true);
});

test('a mask at the rim of the image keeps its corner; saw teeth become straight', () => {
  const corner = draw(64, 64, (x, y) => x < 32 && y < 32);
  assert.equal(runsContain(refine(corner, 64, 64, 2), 64, 0, 0), true);
  const all = draw(16, 16, () => true);
  assert.deepEqual(refine(all, 16, 16, 3), all);
  const teeth = draw(400, 400, (x, y) => y > 90 + 4 * (x % 2) && y < 390 && x > 10 && x < 390);
  const heights = new Set();
  const refined = refine(teeth, 400, 400, 2);
  for (let x = 60; x < 340; x++) heights.add([...Array(400).keys()].find((y) => runsContain(refined, 400, x, y)));
  assert.ok(Math.max(...heights) - Math.min(...heights) <= 1, [...heights].join());
});

test('a mask thinner than the filter is left alone, not lost', () => {
  const line = draw(200, 50, (x, y) => y === 25);
  assert.ok(refine(line, 50, 200, 3).length > 0);
});

test('quarters overlap and cover the image', () => {
  for (const [w, h] of [[100, 80], [1, 1], [7, 3]]) {
    const boxes = quarters(w, h);
    for (const [x, y] of [[0, 0], [w - 1, 0], [0, h - 1], [w - 1, h - 1], [w >> 1, h >> 1]]) {
      assert.ok(boxes.some(([a, b, c, d]) => a <= x && x < c && b <= y && y < d));
    }
    for (const [a, b, c, d] of boxes) assert.ok(a >= 0 && b >= 0 && c <= w && d <= h);
  }
});

test('a part is asked for phrases, and for examples that it shows', () => {
  const prompts = [
    { text: 'dog', boxes: [] }, { text: null, boxes: [{ box: [0, 0, 10, 10], label: 1 }] },
    { text: 'cat', boxes: [{ box: [70, 70, 90, 90], label: 0 }, { box: [0, 0, 10, 10], label: 1 }] },
    { text: null, boxes: [{ box: [70, 70, 90, 90], label: 0 }] },
  ];
  assert.deepEqual(promptsOf(prompts, [40, 40, 100, 100]), [
    { group: 0, prompt: { text: 'dog', boxes: [] } },
    { group: 2, prompt: { text: 'cat', boxes: [{ box: [30, 30, 50, 50], label: 0 }] } },
  ]);
});

const found = (width, height, score, inside) => {
  const runs = draw(width, height, inside);
  return { id: 0, label: 'dog', score, box: runsBounds(runs, height), area: runsArea(runs),
    mask: { size: [height, width], counts: encodeRuns(runs, width * height) } };
};
const document = (width, height, detections, presence = 0.5) => ({
  model: 'm', image: { path: 'a', width, height }, timing: { queued_ms: 1, running_ms: 10, device: 'cpu', encoded: true },
  results: [{ prompt: { text: 'dog', boxes: [] }, presence, detections }],
});

test('fusion: the surest mask of a thing, new things, nothing that is cut', () => {
  const whole = document(100, 100, [found(100, 100, 0.6, disc(20, 20, 10)), found(100, 100, 0.9, disc(80, 80, 8))]);
  const part = (box, ...detections) => ({ box, groups: [0], result: document(60, 60, detections, 0.8) });
  const fused = fuse(whole, [
    part([0, 0, 60, 60], found(60, 60, 0.95, disc(20, 20, 11)), found(60, 60, 0.7, disc(40, 15, 3)), found(60, 60, 0.99, disc(59, 30, 9))),
    part([40, 40, 100, 100], found(60, 60, 0.5, disc(40, 40, 8))),
  ]);
  const { detections, presence } = fused.results[0];
  assert.deepEqual(detections.map(({ score }) => score), [0.95, 0.9, 0.7]);
  assert.deepEqual(detections.map(({ id }) => id), [0, 1, 2]);
  assert.equal(presence, 0.8);
  assert.equal(fused.timing.running_ms, 30);
  const runs = decodeRuns(detections[2].mask.counts, 100, 100);
  assert.deepEqual(runs, draw(100, 100, disc(40, 15, 3)));
  assert.deepEqual(detections[2].box, [37, 12, 44, 19]);
});

test('fusion: masks that the model itself has given one over the other stay', () => {
  const whole = document(50, 50, [found(50, 50, 0.9, disc(25, 25, 10)), found(50, 50, 0.8, disc(25, 25, 9))]);
  assert.equal(fuse(whole, []).results[0].detections.length, 2);
});
