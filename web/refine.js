/**
 * Refinement of masks: edges smoothed, specks and holes gone. Pure functions on run lengths.
 *
 * A level's `radius` is a share of the square root of the mask's area, `speck` a share of the area. Smoothing is a
 * majority filter: a pixel belongs to the mask when most of the square around it does, the part in the image counted.
 */
import { eachSpan, runsArea, runsBounds } from './rle.js';

/** By level, 0 leaves masks as they are. */
export const LEVELS = [
  { radius: 0, speck: 0 }, { radius: 0.01, speck: 0.002 }, { radius: 0.02, speck: 0.01 }, { radius: 0.04, speck: 0.05 },
];
const MOST_RADIUS = 24;

/** Down the columns, as runs are: pixel (x, y) at x * height + y. @typedef {{bits: Uint8Array, width: number, height: number}} Bitmap */

/**
 * The window of the mask that smoothing can change, within the image.
 * @param {Uint32Array} runs @param {number} imageHeight @param {number} imageWidth @param {number} margin
 */
function cut(runs, imageHeight, imageWidth, margin) {
  const [left, top, right, bottom] = runsBounds(runs, imageHeight);
  const x0 = Math.max(0, left - margin);
  const y0 = Math.max(0, top - margin);
  const width = Math.min(imageWidth, right + margin) - x0;
  const height = Math.min(imageHeight, bottom + margin) - y0;
  const bits = new Uint8Array(width * height);
  eachSpan(runs, imageHeight, (x, from, to) => bits.fill(1, (x - x0) * height + from - y0, (x - x0) * height + to - y0));
  return { bits, width, height, x0, y0 };
}

/**
 * Sums of values over windows of radius r, along lines of n values that are `step` apart.
 * @param {Uint32Array} values @param {number} lines @param {number} lineStep @param {number} n @param {number} step @param {number} r
 */
function blur(values, lines, lineStep, n, step, r) {
  const sums = new Uint32Array(n + 1);
  for (let line = 0; line < lines; line++) {
    const at = line * lineStep;
    for (let i = 0; i < n; i++) sums[i + 1] = sums[i] + values[at + i * step];
    for (let i = 0; i < n; i++) values[at + i * step] = sums[Math.min(n, i + r + 1)] - sums[Math.max(0, i - r)];
  }
}

/** @param {Bitmap} map @param {number} r */
function smooth({ bits, width, height }, r) {
  const sums = Uint32Array.from(bits);
  blur(sums, width, height, height, 1, r);
  blur(sums, height, 1, width, height, r);
  const reach = (/** @type {number} */ i, /** @type {number} */ n) => Math.min(n, i + r + 1) - Math.max(0, i - r);
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const i = x * height + y;
      bits[i] = 2 * sums[i] > reach(x, width) * reach(y, height) ? 1 : 0;
    }
  }
}

/**
 * Turns over parts of equal pixels that are smaller than `least`: specks, and holes that do not reach the rim.
 * @param {Bitmap} map @param {number} least
 */
function dropSmall({ bits, width, height }, least) {
  const seen = new Uint8Array(bits.length);
  const part = new Int32Array(bits.length);
  for (let start = 0; start < bits.length; start++) {
    if (seen[start]) continue;
    const value = bits[start];
    let n = 0;
    let rim = false;
    seen[start] = 1;
    part[n++] = start;
    for (let next = 0; next < n; next++) {
      const i = part[next];
      const y = i % height;
      rim ||= y === 0 || y === height - 1 || i < height || i >= bits.length - height;
      for (const j of [y > 0 ? i - 1 : -1, y < height - 1 ? i + 1 : -1, i - height, i + height]) {
        if (j < 0 || j >= bits.length || seen[j] || bits[j] !== value) continue;
        seen[j] = 1;
        part[n++] = j;
      }
    }
    if (n < least && (value || !rim)) for (let k = 0; k < n; k++) bits[part[k]] = 1 - value;
  }
}

/** @param {Bitmap & {x0: number, y0: number}} map @param {number} imageHeight */
function toRuns({ bits, width, height, x0, y0 }, imageHeight) {
  /** @type {number[]} */ const runs = [];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (!bits[x * height + y]) continue;
      const from = y;
      while (y < height && bits[x * height + y]) y++;
      const at = (x0 + x) * imageHeight + y0;
      if (runs.at(-1) === at + from) runs[runs.length - 1] = at + y; // goes on from the column before
      else runs.push(at + from, at + y);
    }
  }
  return Uint32Array.from(runs);
}

/**
 * The mask at a level of refinement; itself when nothing would be left of it.
 * @param {Uint32Array} runs @param {number} height @param {number} width of the image @param {number} level
 */
export function refine(runs, height, width, level) {
  const { radius, speck } = LEVELS[level];
  const area = runsArea(runs);
  if (!level || !area) return runs;
  const r = Math.min(MOST_RADIUS, Math.max(1, Math.round(radius * Math.sqrt(area))));
  const map = cut(runs, height, width, r + 1);
  smooth(map, r);
  dropSmall(map, Math.max(2, speck * area));
  const refined = toRuns(map, height);
  return refined.length ? refined : runs;
}
