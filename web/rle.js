/**
 * COCO's run lengths: pixels counted down the columns, runs of 0 and 1 in turns, the first of 0. In the compressed
 * string a count is, from the fourth on, its difference to the one two before; 5 bits a character from the lowest,
 * bit 5 says that more follow, bit 4 of the last is the sign; plus 48.
 * @typedef {import('./types.js').Box} Box
 */
const FIRST = 48;

/**
 * The runs of 1 as pairs of begin and end. Throws when the text is not run lengths of height * width pixels.
 * @param {string} counts
 * @param {number} height
 * @param {number} width
 * @returns {Uint32Array}
 */
export function decodeRuns(counts, height, width) {
  const runs = new Uint32Array(counts.length + 1);
  let used = 0;
  let at = 0;
  let back2 = 0; // the counts two before, one before
  let back1 = 0;
  let nth = 0;
  for (let i = 0; i < counts.length; nth++) {
    let value = 0;
    let unit = 1;
    for (let more = true; more; unit *= 32) {
      const bits = counts.charCodeAt(i++) - FIRST;
      if (!(bits >= 0 && bits < 64) || unit > 2 ** 30) throw new Error(`run lengths: no number at character ${i - 1}`);
      value += (bits & 31) * unit;
      more = (bits & 32) !== 0;
      if (!more && bits & 16) value -= unit * 32;
    }
    if (nth > 2) value += back2;
    if (value < 0 || at + value > height * width) {
      throw new Error(`run lengths: a run of ${value} pixels where ${height * width - at} are left`);
    }
    if (nth % 2 && value) {
      runs[used++] = at;
      runs[used++] = at + value;
    }
    at += value;
    back2 = back1;
    back1 = value;
  }
  if (at !== height * width) throw new Error(`run lengths: ${height * width - at} pixels are missing`);
  return runs.slice(0, used);
}

/**
 * The compressed string of runs of 1 in so many pixels.
 * @param {Uint32Array} runs
 * @param {number} pixels
 * @returns {string}
 */
export function encodeRuns(runs, pixels) {
  const borders = [0, ...runs, pixels];
  const counts = borders.slice(1).map((border, i) => border - borders[i]);
  if (counts.length > 1 && counts.at(-1) === 0) counts.pop();
  let text = '';
  counts.forEach((count, i) => {
    let value = i > 2 ? count - counts[i - 2] : count;
    for (let more = true; more; ) {
      let bits = value & 31;
      value >>= 5;
      more = bits & 16 ? value !== -1 : value !== 0;
      if (more) bits |= 32;
      text += String.fromCharCode(bits + FIRST);
    }
  });
  return text;
}

/** @param {Uint32Array} runs */
export function runsArea(runs) {
  let area = 0;
  for (let i = 0; i < runs.length; i += 2) area += runs[i + 1] - runs[i];
  return area;
}

/**
 * Whether the mask has pixel x, y.
 * @param {Uint32Array} runs
 * @param {number} height
 * @param {number} x
 * @param {number} y
 */
export function runsContain(runs, height, x, y) {
  const at = x * height + y;
  let low = 0;
  let high = runs.length; // how many of the borders are at or before `at`: odd inside a run
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

/**
 * Calls visit(x, y0, y1) for each piece of a run within one column.
 * @param {Uint32Array} runs
 * @param {number} height
 * @param {(x: number, y0: number, y1: number) => void} visit
 */
export function eachSpan(runs, height, visit) {
  for (let i = 0; i < runs.length; i += 2) {
    for (let at = runs[i]; at < runs[i + 1]; ) {
      const x = Math.floor(at / height);
      const end = Math.min((x + 1) * height, runs[i + 1]);
      visit(x, at - x * height, end - x * height);
      at = end;
    }
  }
}

/**
 * The smallest box around the mask; zeros when it is empty.
 * @param {Uint32Array} runs
 * @param {number} height
 * @returns {Box}
 */
export function runsBounds(runs, height) {
  if (!runs.length) return [0, 0, 0, 0];
  const x0 = Math.floor(runs[0] / height);
  const x1 = Math.floor((runs[runs.length - 1] - 1) / height) + 1;
  let y0 = height;
  let y1 = 0;
  eachSpan(runs, height, (_x, top, bottom) => {
    if (top < y0) y0 = top;
    if (bottom > y1) y1 = bottom;
  });
  return [x0, y0, x1, y1];
}
