/**
 * Draws without WebGL2: the picture with its masks is composed once after each change, and moved about as one image.
 * Pan and zoom cost the same as with WebGL2; a change of colours costs the whole picture, in slices.
 * @typedef {import('./viewer.js').Frame} Frame
 * @typedef {import('./types.js').Mode} Mode
 */
import { compose } from './compose.js';

export class CanvasViewer {
  kind = 'canvas2d';
  /** @type {ImageBitmap | null} */ #bitmap = null;
  /** @type {Uint16Array | null} */ #map = null;
  /** @type {Uint8Array} */ #table = new Uint8Array(4);
  /** @type {Map<Mode, CanvasImageSource>} */ #composed = new Map();
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
    this.#running = null;
    this.redraw();
  }

  /** @type {Mode | null} */ #running = null;
  #done = -1;

  /** @param {Mode} mode */
  async #prepare(mode) {
    if (!this.#bitmap || this.#running === mode) return;
    this.#running = mode;
    const change = this.#change;
    const canvas = await compose(this.#bitmap, this.#map, this.#table, mode);
    if (change !== this.#change) return;
    if (this.#done !== change) this.#composed.clear();
    this.#done = change;
    this.#composed.set(mode, canvas);
    this.#running = null;
    this.redraw();
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
    if (mode === 'original' || (mode === 'overlay' && !this.#map)) {
      context.drawImage(this.#bitmap, 0, 0);
      return;
    }
    if (this.#done !== this.#change || !this.#composed.has(mode)) this.#prepare(mode);
    context.drawImage(this.#composed.get(mode) ?? this.#bitmap, 0, 0); // the last one until the new one is there
  }
}
