import assert from 'node:assert/strict';
import test from 'node:test';
import { composeRows } from '../../../web/compose.js';

const [WIDTH, HEIGHT] = [6, 5];
const RED = [200, 0, 0, 128];

/** A grey picture with instance 1 on columns 1 to 4 and rows 1 to 3, composed in two bands. */
function composed(mode, line) {
  const map = new Uint16Array(WIDTH * HEIGHT);
  for (let x = 1; x < 5; x++) map.fill(1, x * HEIGHT + 1, x * HEIGHT + 4);
  const table = Uint8Array.from([0, 0, 0, 0, ...RED]);
  const pixels = new Uint8ClampedArray(WIDTH * HEIGHT * 4).fill(100).map((v, i) => (i % 4 === 3 ? 255 : v));
  const cut = 2 * WIDTH * 4;
  composeRows(pixels.subarray(0, cut), map, table, WIDTH, HEIGHT, 0, mode, line);
  composeRows(pixels.subarray(cut), map, table, WIDTH, HEIGHT, 2, mode, line);
  return (x, y) => [...pixels.subarray((y * WIDTH + x) * 4, (y * WIDTH + x) * 4 + 4)];
}

test('overlay: a tint, and an outline where it is asked for', () => {
  const tint = [150, 50, 50, 255];
  const plain = composed('overlay');
  assert.deepEqual([plain(0, 0), plain(1, 1), plain(2, 2)], [[100, 100, 100, 255], tint, tint]);
  const lined = composed('overlay', 1);
  assert.deepEqual(lined(2, 2), tint);
  for (const [x, y] of [[1, 2], [4, 2], [2, 1], [2, 3]]) assert.deepEqual(lined(x, y), [200, 0, 0, 255], `${x}, ${y}`);
  assert.deepEqual(lined(0, 2), [100, 100, 100, 255]);
});

test('masks: their colours on black; cut-out: what has no mask is clear', () => {
  assert.deepEqual([composed('masks')(2, 2), composed('masks')(0, 0)], [[200, 0, 0, 255], [14, 15, 16, 255]]);
  assert.deepEqual([composed('cutout')(2, 2), composed('cutout')(0, 0)], [[100, 100, 100, 255], [0, 0, 0, 0]]);
});
