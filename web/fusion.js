/**
 * Several scales: the image as a whole, and overlapping quarters of it, which the model sees larger. Pure functions.
 * What a quarter shows of a thing that its inner edge cuts is left to the others.
 * @typedef {import('./types.js').Box} Box
 * @typedef {import('./types.js').Prompt} Prompt
 * @typedef {import('./types.js').PromptResult} PromptResult
 * @typedef {import('./types.js').ResultDocument} ResultDocument
 * @typedef {import('./types.js').Detection} Detection
 * @typedef {Detection & {runs: Uint32Array}} Found
 */
import { decodeRuns, eachSpan, encodeRuns, runsArea, runsBounds } from './rle.js';

const SHARE = 0.6; // of a side, in a quarter
const SAME_IOU = 0.5; // two masks are of one thing: over so much of both,
const SAME_INSIDE = 0.8; // or so much of the smaller

/** @param {number} width @param {number} height @returns {Box[]} */
export function quarters(width, height) {
  const w = Math.ceil(width * SHARE);
  const h = Math.ceil(height * SHARE);
  return [[0, 0], [width - w, 0], [0, height - h], [width - w, height - h]].map(([x, y]) => [x, y, x + w, y + h]);
}

/**
 * What can be asked of a part: all phrases, with the example boxes that it shows at least half of.
 * @param {Prompt[]} prompts @param {Box} part
 * @returns {{group: number, prompt: Prompt}[]}
 */
export function promptsOf(prompts, [x0, y0, x1, y1]) {
  return prompts.flatMap((prompt, group) => {
    const boxes = prompt.boxes.flatMap(({ box: [a, b, c, d], label }) => {
      const [left, top, right, bottom] = [Math.max(a, x0), Math.max(b, y0), Math.min(c, x1), Math.min(d, y1)];
      if (right <= left || bottom <= top || (right - left) * (bottom - top) * 2 < (c - a) * (d - b)) return [];
      return [{ box: /** @type {Box} */ ([left - x0, top - y0, right - x0, bottom - y0]), label }];
    });
    if (prompt.text === null && !boxes.some(({ label }) => label === 1)) return [];
    return [{ group, prompt: { ...prompt, boxes } }];
  });
}

/** The runs of a mask of a part, in the image. @param {Uint32Array} runs @param {Box} part @param {number} height */
function place(runs, [x0, y0, , y1], height) {
  /** @type {number[]} */ const out = [];
  eachSpan(runs, y1 - y0, (x, from, to) => {
    const at = (x0 + x) * height + y0;
    if (out.at(-1) === at + from) out[out.length - 1] = at + to;
    else out.push(at + from, at + to);
  });
  return Uint32Array.from(out);
}

/** @param {Box} bounds of a mask in a part @param {Box} part @param {number} width @param {number} height of the image */
const isCut = ([left, top, right, bottom], [x0, y0, x1, y1], width, height) =>
  (x0 > 0 && left <= 1) || (y0 > 0 && top <= 1) ||
  (x1 < width && right >= x1 - x0 - 1) || (y1 < height && bottom >= y1 - y0 - 1);

/** Pixels that both have. @param {Uint32Array} a @param {Uint32Array} b */
export function runsOverlap(a, b) {
  let sum = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    sum += Math.max(0, Math.min(a[i + 1], b[j + 1]) - Math.max(a[i], b[j]));
    if (a[i + 1] < b[j + 1]) i += 2;
    else j += 2;
  }
  return sum;
}

/** @param {Found} a @param {Found} b */
function same(a, b) {
  const both = runsOverlap(a.runs, b.runs);
  return both > SAME_INSIDE * Math.min(a.area, b.area) || both > SAME_IOU * (a.area + b.area - both);
}

/** @param {Detection} found @param {Box} part @param {number} width @param {number} height @returns {Found | null} */
function moved(found, part, width, height) {
  const small = decodeRuns(found.mask.counts, found.mask.size[0], found.mask.size[1]);
  if (!small.length || isCut(runsBounds(small, found.mask.size[0]), part, width, height)) return null;
  const runs = place(small, part, height);
  const [x, y] = part;
  const [a, b, c, d] = found.box;
  return { ...found, runs, area: runsArea(runs), box: [a + x, b + y, c + x, d + y] };
}

/**
 * One result of the whole and its parts: of several masks of one thing the surest stays.
 * @param {ResultDocument} whole
 * @param {{box: Box, groups: number[], result: ResultDocument}[]} parts  groups: the prompt that each of result.results is of
 * @returns {ResultDocument}
 */
export function fuse(whole, parts) {
  const { width, height } = whole.image;
  const results = whole.results.map((of, group) => {
    /** @type {Found[]} */ const kept = of.detections.map((found) =>
      ({ ...found, runs: decodeRuns(found.mask.counts, height, width) }));
    let { presence } = of;
    const more = parts.flatMap(({ box, groups, result }) => result.results.flatMap((r, i) => {
      if (groups[i] !== group) return [];
      presence = Math.max(presence, r.presence);
      return r.detections.flatMap((found) => moved(found, box, width, height) ?? []);
    })).sort((a, b) => b.score - a.score);
    for (const found of more) {
      const rival = kept.findIndex((other) => same(found, other));
      if (rival < 0) kept.push(found);
      else if (found.score > kept[rival].score) kept[rival] = found;
    }
    kept.sort((a, b) => b.score - a.score);
    return { ...of, presence, detections: kept.map(({ runs, ...found }, id) => (
      { ...found, id, mask: { size: /** @type {[number, number]} */ ([height, width]), counts: encodeRuns(runs, height * width) } })) };
  });
  const timing = whole.timing && { ...whole.timing,
    running_ms: parts.reduce((sum, { result }) => sum + (result.timing?.running_ms ?? 0), whole.timing.running_ms) };
  return { ...whole, results, timing };
}
