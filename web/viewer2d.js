/**
 * Draws without a GPU: the picture with its masks is composed once after each change, and moved about as one image.
 * A frame then costs the pixels of the stage, whatever the size of the picture and the number of masks; a change of
 * colours costs the whole picture, in slices.
 * @typedef {import('./viewer.js').Frame} Frame
 * @typedef {import('./types.js').Mode} Mode
 */
import { compose } from './compose.js';

const SMALLEST_LEVEL = 512;

/**
 * The picture, and smaller ones each half as wide: drawing it small reads no more pixels than it shows, and is smooth.
 * @param {OffscreenCanvas} picture
 */
function levelsOf(picture) {
  const levels = [picture];
  for (let { width, height } = picture; Math.max(width, height) > 2 * SMALLEST_LEVEL;) {
    const larger = levels[levels.length - 1];
    [width, height] = [Math.ceil(width / 2), Math.ceil(height / 2)];
    const half = new OffscreenCanvas(width, height);
    /** @type {OffscreenCanvasRenderingContext2D} */ (half.getContext('2d')).drawImage(larger, 0, 0, width, height);
    levels.push(half);
  }
  return levels;
}

export class CanvasViewer {
  kind = 'canvas2d';
  /** @type {ImageBitmap | null} */ #bitmap = null;
  /** @type {Uint16Array | null} */ #map = null;
  /** @type {Uint8Array} */ #table = new Uint8Array(4);
  /** @type {Map<Mode, OffscreenCanvas[]>} */ #composed = new Map();
  #change = 0;

  /** @param {HTMLCanvasElement} canvas @param {() => void} redraw asks for a frame */
  constructor(canvas, redraw) {
    this.canvas = canvas;
    this.redraw = redraw;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  }

  /** @param {ImageBitmap} bitmap */
  async setImage(bitmap) {
    this.#bitmap = bitmap;
    this.#composed.clear();
    this.setIndex(null);
  }

  /** @param {Uint16Array | null} map */
  setIndex(map) {
    this.#map = map;
    this.#stale();
  }

  /** @param {Uint8Array} table */
  setColours(table) {
    this.#table = table;
    this.#stale();
  }

  #stale() {
    this.#change++;
    this.redraw();
  }

  #working = false;
  #done = -1;

  /** One picture at a time: what changes meanwhile is drawn in the next. @param {Mode} mode */
  async #prepare(mode) {
    const bitmap = this.#bitmap;
    if (!bitmap || this.#working) return;
    this.#working = true;
    const change = this.#change;
    const line = Math.max(1, Math.round(Math.max(bitmap.width, bitmap.height) / 800));
    try {
      const levels = levelsOf(await compose(bitmap, this.#map, this.#table, mode, line));
      if (bitmap !== this.#bitmap) return;
      if (this.#done !== change) this.#composed.clear();
      this.#done = change;
      this.#composed.set(mode, levels);
    } finally {
      this.#working = false;
      this.redraw();
    }
  }

  /** @param {Frame} frame */
  draw({ scale, x, y, width, height, ratio, mode }) {
    const { canvas, context } = this;
    const size = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.#bitmap) return;
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    context.imageSmoothingEnabled = scale < 4;
    if (this.#done !== this.#change || !this.#composed.has(mode)) this.#prepare(mode);
    const levels = this.#composed.get(mode) ?? [this.#bitmap]; // the last ones until the new ones are there
    const level = Math.min(levels.length - 1, Math.max(0, Math.floor(-Math.log2(scale * ratio))));
    context.drawImage(levels[level], 0, 0, this.#bitmap.width, this.#bitmap.height);
  }
}
