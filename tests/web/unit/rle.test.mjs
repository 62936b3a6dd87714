import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { buildIndexMap } from '../../../web/index_map.js';
import { decodeRuns, runsArea, runsBounds, runsContain } from '../../../web/rle.js';

/** Made by pycocotools: encode, area, toBbox of random masks and of a ring. */
const expected = JSON.parse(readFileSync(new URL('rle.json', import.meta.url), 'utf8'));

test('run lengths are those of pycocotools', () => {
  for (const { size: [height, width], counts, area, bbox, mask } of expected) {
    const runs = decodeRuns(counts, height, width);
    assert.equal(runsArea(runs), area);
    const [x0, y0, x1, y1] = runsBounds(runs, height);
    assert.deepEqual([x0, y0, x1 - x0, y1 - y0], bbox);
    if (!mask) continue;
    for (let x = 0; x < width; x++) {
      for (let y = 0; y < height; y++) assert.equal(runsContain(runs, height, x, y), mask[x * height + y] === '1', `${x},${y}`);
    }
  }
});

test('what is not run lengths of the size is refused', () => {
  assert.throws(() => decodeRuns('5', 2, 2), /a run of 5 pixels where 4 are left/);
  assert.throws(() => decodeRuns('3', 2, 2), /1 pixels are missing/);
  assert.throws(() => decodeRuns('', 2, 2), /4 pixels are missing/);
  assert.throws(() => decodeRuns('T', 2, 2), /no number at character 1/); // cut off
  assert.throws(() => decodeRuns('é', 2, 2), /no number at character 0/);
  assert.throws(() => decodeRuns('oooooooo0', 2, 2), /no number/); // too long
  assert.throws(() => decodeRuns('O', 2, 2), /a run of -1/);
});

test('the index map has the last instance on top, and knows of overlaps', () => {
  const a = { index: 1, runs: Uint32Array.of(0, 3) };
  const b = { index: 700, runs: Uint32Array.of(2, 5) };
  const both = buildIndexMap(6, [a, b]);
  assert.deepEqual([...both.map], [1, 1, 700, 700, 700, 0]);
  assert.equal(both.overlaps, true);
  assert.equal(buildIndexMap(6, [a]).overlaps, false);
  assert.equal(buildIndexMap(6, [a, { index: 2, runs: Uint32Array.of(3, 6) }]).overlaps, false);
});
