import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { maskFiles, toCoco, toJson, toLabelme, toYolo, fileStem } from '../../../web/formats.js';
import { encodeGreyPng } from '../../../web/png.js';
import { zipStored } from '../../../web/zip.js';
import { readPng } from '../shapes.mjs';

const instance = (name, index, runs, bounds, score) => ({
  uid: `0.${index}`, index, group: 0, label: 'car', name, score, box: bounds, area: 4, runs: Uint32Array.from(runs), bounds,
  mask: { size: [4, 6], counts: `c${index}` }, colour: [0, 0, 0],
});
/** 6 × 4: two columns of rows 1 and 2; the second instance has two parts. */
const shown = {
  model: 'm', path: 'a b.jpg', width: 6, height: 4,
  groups: [
    { prompt: { text: 'car', boxes: [] }, presence: 0.9, instances: [
      instance('car', 1, [1, 3, 5, 7], [0, 1, 2, 3], 0.9), instance('van', 2, [8, 9, 23, 24], [2, 0, 6, 4], 0.8)] },
    { prompt: { text: null, boxes: [{ box: [0, 0, 1, 1], label: 1 }] }, presence: 0.1, instances: [] },
  ],
};

test('the JSON is the contract', () => {
  const document = JSON.parse(toJson(shown));
  assert.deepEqual(document.image, { path: 'a b.jpg', width: 6, height: 4 });
  assert.deepEqual(document.results[0].detections[1],
    { id: 1, label: 'van', score: 0.8, box: [2, 0, 6, 4], area: 4, mask: { size: [4, 6], counts: 'c2' } });
  assert.deepEqual(document.results[1], { prompt: shown.groups[1].prompt, presence: 0.1, detections: [] });
});

test('COCO: boxes around masks, a category for every label', () => {
  const document = JSON.parse(toCoco(shown));
  assert.deepEqual(document.categories.map(({ id, name }) => [id, name]), [[1, 'car'], [2, 'visual'], [3, 'van']]);
  assert.deepEqual(document.annotations[1].bbox, [2, 0, 4, 4]);
  assert.deepEqual(document.annotations.map(({ id, category_id }) => [id, category_id]), [[1, 1], [2, 3]]);
});

test('YOLO: a line a part, fractions with 6 decimals', () => {
  const { text, classes } = toYolo(shown);
  assert.equal(classes, 'car\nvisual\nvan\n');
  const lines = text.trimEnd().split('\n');
  assert.equal(lines.length, 3);
  assert.equal(lines[0], '0 0.000000 0.250000 0.333333 0.250000 0.333333 0.750000 0.000000 0.750000');
  assert.ok(lines[1].startsWith('2 ') && lines[2].startsWith('2 '));
});

test('Labelme: parts of one region share a group', () => {
  const document = JSON.parse(toLabelme(shown));
  assert.deepEqual(document.shapes.map(({ label, group_id }) => [label, group_id]), [['car', 0], ['van', 1], ['van', 1]]);
  assert.deepEqual(document.shapes[0].points, [[0, 1], [2, 1], [2, 3], [0, 3]]);
  assert.equal(document.imageHeight, 4);
});

test('names of files', () => {
  assert.deepEqual(maskFiles(shown).map(({ name }) => name), ['a b-0-0.png', 'a b-0-1.png']);
  assert.equal(fileStem('x/..\\y?.tar.png'), 'x_.._y_.tar');
  assert.equal(fileStem('.png'), 'image');
});

test('a grey PNG reads back', async () => {
  const grey = Uint8Array.from({ length: 15 }, (_, i) => (i * 17) % 256);
  const { width, height, channels, pixels } = readPng(Buffer.from(await encodeGreyPng(grey, 5, 3)));
  assert.deepEqual([width, height, channels], [5, 3, 1]);
  assert.deepEqual([...pixels], [...grey]);
});

test("Python's zipfile reads the ZIP", async () => {
  const text = (s) => new TextEncoder().encode(s);
  const blob = zipStored([{ name: 'a.txt', data: text('one') }, { name: '红.txt', data: text('two\n') }, { name: 'empty', data: text('') }],
    new Date(2026, 10, 24, 13, 14, 16));
  const path = join(mkdtempSync(join(tmpdir(), 'zip-')), 'x.zip');
  writeFileSync(path, Buffer.from(await blob.arrayBuffer()));
  const listed = execFileSync('python3', ['-c', `import sys, json, zipfile
z = zipfile.ZipFile(sys.argv[1])
print(json.dumps([z.testzip(), [[i.filename, z.read(i).decode(), i.date_time] for i in z.infolist()]]))`, path]);
  assert.deepEqual(JSON.parse(listed), [null, [['a.txt', 'one', [2026, 11, 24, 13, 14, 16]],
    ['红.txt', 'two\n', [2026, 11, 24, 13, 14, 16]], ['empty', '', [2026, 11, 24, 13, 14, 16]]]]);
});
