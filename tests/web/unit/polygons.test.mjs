import assert from 'node:assert/strict';
import test from 'node:test';
import { tracePolygons } from '../../../web/polygons.js';

/** Runs of a mask drawn in rows of # and dots. */
function draw(...rows) {
  const [height, width] = [rows.length, rows[0].length];
  const runs = [];
  for (let at = 0; at < height * width; at++) {
    const on = rows[at % height][Math.floor(at / height)] === '#';
    const open = runs.length % 2 === 1;
    if (on !== open) runs.push(at);
  }
  if (runs.length % 2) runs.push(height * width);
  return { runs: Uint32Array.from(runs), width, height };
}

const trace = ({ runs, width, height }) => tracePolygons(runs, width, height);

/** Twice the signed area: positive when clockwise on the screen. */
const area2 = (ring) => ring.reduce((sum, [x, y], i) => {
  const [nx, ny] = ring[(i + 1) % ring.length];
  return sum + x * ny - nx * y;
}, 0);

test('the example of docs/formats.md: a ring around one pixel', () => {
  assert.deepEqual(trace(draw('###', '#.#', '###')), [
    { outer: [[0, 0], [3, 0], [3, 3], [0, 3]], holes: [[[1, 2], [2, 2], [2, 1], [1, 1]]] },
  ]);
});

test('parts that meet at a corner are separate, in order of their leftmost pixel', () => {
  const parts = trace(draw('#.', '.#'));
  assert.deepEqual(parts.map(({ outer }) => outer), [[[0, 0], [1, 0], [1, 1], [0, 1]], [[1, 1], [2, 1], [2, 2], [1, 2]]]);
  assert.equal(trace(draw('.#', '#.')).length, 2);
});

test('holes that meet at a corner are one ring, a part in a hole is its own', () => {
  assert.equal(trace(draw('####', '#.##', '##.#', '####'))[0].holes.length, 1);
  const nested = trace(draw('#####', '#...#', '#.#.#', '#...#', '#####'));
  assert.deepEqual(nested.map(({ holes }) => holes.length), [1, 0]);
});

test('an empty mask has no parts, a full one four corners', () => {
  assert.deepEqual(trace(draw('..', '..')), []);
  assert.deepEqual(trace(draw('###', '###'))[0].outer, [[0, 0], [3, 0], [3, 2], [0, 2]]);
});

test('filling the rings of random masks gives back the masks', () => {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 60; round++) {
    const [width, height] = [1 + Math.floor(random() * 14), 1 + Math.floor(random() * 14)];
    const density = random();
    const rows = Array.from({ length: height }, () => Array.from({ length: width }, () => (random() < density ? '#' : '.')).join(''));
    const parts = trace(draw(...rows));
    const rings = parts.flatMap(({ outer, holes }) => [outer, ...holes]);
    for (const { outer, holes } of parts) {
      assert.ok(area2(outer) > 0 && holes.every((hole) => area2(hole) < 0));
    }
    for (const ring of rings) {
      ring.forEach(([x, y], i) => {
        const [px] = ring.at(i - 1);
        const [nx] = ring[(i + 1) % ring.length];
        assert.ok((px === x) !== (nx === x), `a corner at ${x},${y}`);
      });
    }
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        // Vertical edges left of the pixel's middle, over all rings: odd inside.
        let crossings = 0;
        for (const ring of rings) {
          ring.forEach(([ax, ay], i) => {
            const [bx, by] = ring[(i + 1) % ring.length];
            if (ax === bx && ax <= x && Math.min(ay, by) <= y && Math.max(ay, by) > y) crossings++;
          });
        }
        assert.equal(crossings % 2 === 1, rows[y][x] === '#', `pixel ${x},${y} of\n${rows.join('\n')}`);
      }
    }
  }
});
