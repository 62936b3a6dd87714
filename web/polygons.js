/**
 * The outlines of a mask as polygons along the edges of pixels, as docs/formats.md tells: what hangs together by
 * pixel edges is a part; its outer ring runs clockwise as seen on the screen, its holes counter-clockwise; points are
 * corners between pixels, and no point lies on the line of its neighbours.
 */
import { eachSpan } from './rle.js';

/** @typedef {[number, number][]} Ring */
/** @typedef {{outer: Ring, holes: Ring[]}} Part */

// Directions in which an edge is followed, the mask always on the right hand: top edges right, right edges down, ...
const RIGHT = 0, DOWN = 1, LEFT = 2, UP = 3;
const DX = [1, 0, -1, 0];
const DY = [0, 1, 0, -1];

/** Spans in the order of columns; `first[x]` is the first of column x. */
class Spans {
  /** @param {Uint32Array} runs @param {number} width @param {number} height */
  constructor(runs, width, height) {
    /** @type {number[]} */ this.x = [];
    /** @type {number[]} */ this.y0 = [];
    /** @type {number[]} */ this.y1 = [];
    this.first = new Uint32Array(width + 2);
    eachSpan(runs, height, (x, y0, y1) => {
      this.x.push(x);
      this.y0.push(y0);
      this.y1.push(y1);
      this.first[x + 1] = this.x.length;
    });
    for (let x = 1; x <= width + 1; x++) this.first[x] = Math.max(this.first[x], this.first[x - 1]);
    this.parent = Uint32Array.from(this.x.keys());
  }

  /** The part a span belongs to. @param {number} i */
  part(i) {
    while (this.parent[i] !== i) i = this.parent[i] = this.parent[this.parent[i]];
    return i;
  }

  /** @param {number} i @param {number} j */
  join(i, j) {
    const a = this.part(i);
    const b = this.part(j);
    if (a < b) this.parent[b] = a;
    else this.parent[a] = b;
  }
}

/** Edges by the corner they start from and their direction. */
class Edges {
  /** @param {number} stride corners a row */
  constructor(stride) {
    this.stride = stride;
    /** @type {Map<number, number>} */
    this.length = new Map();
  }

  /** @param {number} x @param {number} y @param {number} direction */
  key(x, y, direction) {
    return (y * this.stride + x) * 4 + direction;
  }

  /** @param {number} x @param {number} y0 @param {number} y1 @param {number} direction */
  vertical(x, y0, y1, direction) {
    if (y1 > y0) this.length.set(this.key(x, direction === DOWN ? y0 : y1, direction), y1 - y0);
  }
}

/**
 * The vertical edges between column x - 1 and column x: where one has the mask and the other has not. Also joins
 * spans that touch.
 * @param {Spans} spans
 * @param {Edges} edges
 * @param {number} x
 */
function verticalEdges(spans, edges, x) {
  let i = x > 0 ? spans.first[x - 1] : 0;
  const iEnd = x > 0 ? spans.first[x] : 0;
  let j = spans.first[x];
  const jEnd = spans.first[x + 1];
  for (let a = i, b = j; a < iEnd && b < jEnd; ) {
    if (spans.y0[a] < spans.y1[b] && spans.y0[b] < spans.y1[a]) spans.join(a, b);
    if (spans.y1[a] < spans.y1[b]) a++;
    else b++;
  }
  // Sweep down over the borders of both columns.
  let left = false;
  let right = false;
  let from = 0;
  while (i < iEnd || j < jEnd) {
    const yi = i < iEnd ? (left ? spans.y1[i] : spans.y0[i]) : Infinity;
    const yj = j < jEnd ? (right ? spans.y1[j] : spans.y0[j]) : Infinity;
    const y = Math.min(yi, yj);
    if (left && !right) edges.vertical(x, from, y, DOWN);
    if (right && !left) edges.vertical(x, from, y, UP);
    if (yi === y) {
      if (left) i++;
      left = !left;
    }
    if (yj === y) {
      if (right) j++;
      right = !right;
    }
    from = y;
  }
}

/**
 * Follows one ring from the corner x, y to the right, and takes its edges away. Where two parts meet at a corner the
 * right turn stays with the part that the ring belongs to.
 * @param {Edges} edges
 * @param {number} x
 * @param {number} y
 * @returns {Ring}
 */
function trace(edges, x, y) {
  /** @type {Ring} */
  const ring = [];
  let direction = RIGHT;
  let last = UP; // not RIGHT: the first corner is a true one, for no edge further left belongs to the ring
  for (;;) {
    const key = edges.key(x, y, direction);
    const length = edges.length.get(key);
    if (length === undefined) return ring;
    edges.length.delete(key);
    if (direction !== last) ring.push([x, y]);
    last = direction;
    x += DX[direction] * length;
    y += DY[direction] * length;
    for (const turn of [1, 0, 3]) {
      const next = (direction + turn) % 4;
      if (edges.length.has(edges.key(x, y, next))) {
        direction = next;
        break;
      }
    }
  }
}

/**
 * @param {Uint32Array} runs
 * @param {number} width
 * @param {number} height
 * @returns {Part[]} in the order of their leftmost, topmost pixel
 */
export function tracePolygons(runs, width, height) {
  const spans = new Spans(runs, width, height);
  const edges = new Edges(width + 1);
  for (let i = 0; i < spans.x.length; i++) {
    edges.length.set(edges.key(spans.x[i], spans.y0[i], RIGHT), 1);
    edges.length.set(edges.key(spans.x[i] + 1, spans.y1[i], LEFT), 1);
  }
  for (let x = 0; x <= width; x++) verticalEdges(spans, edges, x);
  /** @type {Map<number, Part>} */
  const parts = new Map();
  for (let i = 0; i < spans.x.length; i++) {
    if (!edges.length.has(edges.key(spans.x[i], spans.y0[i], RIGHT))) continue; // followed already
    const ring = trace(edges, spans.x[i], spans.y0[i]);
    const part = parts.get(spans.part(i));
    if (part) part.holes.push(ring); // the leftmost top edge of a part is its outer ring's
    else parts.set(spans.part(i), { outer: ring, holes: [] });
  }
  return [...parts.values()];
}
