/**
 * The stage: the canvas, where the image lies on it, and when it is drawn. Nothing is drawn while nothing changes.
 *
 * The index map holds the topmost visible instance of each pixel. Hiding one changes the colour table at once; what
 * lay under it appears when the map has been painted anew in the worker, a moment later and only if masks overlap.
 */
import { BoxLayer, tidyBox } from './boxes.js';
import { colourTable } from './colours.js';
import { $ } from './dom.js';
import { listenToPointers } from './gestures.js';
import { addBox } from './prompt_edits.js';
import { instancesAt, paintOrder, visibleInstances } from './regions.js';
import { View } from './view.js';
import { GlViewer } from './viewer.js';
import { CanvasViewer } from './viewer2d.js';

/**
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./background.js').Background} Background
 */

const REST_AFTER = 120; // ms without movement until the outlines are drawn again
const REBUILD_AFTER = 80; // ms without another change until the index map is painted anew
const SLOW_FRAME = 18; // ms

export class Stage {
  view = new View();
  element = $('#stage');
  #bar = $('#viewbar');
  /** @type {Uint16Array | null} */ map = null;
  #frame = 0;
  #moving = 0;
  #slow = false;
  #lastFrame = 0;
  #rebuild = 0;
  #painted = '';
  #overlaps = false;
  #result = 0; // counts results: an index map of an old one is dropped

  /** @param {Store} store @param {Background} background @param {(uids: string[], x: number, y: number, pinned: boolean) => void} onRegions */
  constructor(store, background, onRegions) {
    this.store = store;
    this.background = background;
    this.boxes = new BoxLayer(store, this.view);
    this.viewer = this.#makeViewer();
    const observer = new ResizeObserver(() => this.#resized());
    for (const element of [this.element, this.#bar]) observer.observe(element);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.redraw());
    store.on(['instances', 'edits', 'isolated', 'threshold', 'opacity', 'hover', 'selected'], () => this.recolour());
    store.on(['edits', 'isolated', 'threshold'], () => this.#rebuildSoon());
    store.on(['mode'], () => this.redraw());
    store.on(['tool'], ({ tool }) => { this.element.dataset.tool = tool; });
    this.#listen(onRegions);
  }

  #makeViewer() {
    const options = new URLSearchParams(location.search);
    const canvas = /** @type {HTMLCanvasElement} */ ($('#canvas'));
    canvas.addEventListener('webglcontextlost', (event) => event.preventDefault());
    canvas.addEventListener('webglcontextrestored', () => {
      this.viewer = new GlViewer(canvas, Number(options.get('tile')) || undefined);
      this.#restoreContext();
    });
    try {
      if (options.get('viewer') === '2d') throw new Error('asked for');
      return new GlViewer(canvas, Number(options.get('tile')) || undefined, options.get('viewer') === 'webgl2');
    } catch {
      // A canvas that has had one kind of context cannot have another.
      const fresh = /** @type {HTMLCanvasElement} */ (canvas.cloneNode());
      canvas.replaceWith(fresh);
      return new CanvasViewer(fresh, () => this.redraw());
    }
  }

  async #restoreContext() {
    const { image } = this.store.state;
    if (!image) return;
    await this.viewer.setImage(image.bitmap);
    this.viewer.setIndex(this.map);
    this.recolour();
  }

  /** @param {(uids: string[], x: number, y: number, pinned: boolean) => void} onRegions */
  #listen(onRegions) {
    const { view, store, boxes } = this;
    /** @param {number} x @param {number} y */
    const regions = (x, y) => instancesAt(store.state, ...view.toImage(x, y)).map(({ uid }) => uid);
    const plus = () => store.state.tool !== 'minus';
    /** @param {number[]} corners */
    const toImage = ([x0, y0, x1, y1]) => [...view.toImage(x0, y0), ...view.toImage(x1, y1)];
    let hovering = 0;
    listenToPointers(this.element, {
      pan: (dx, dy) => this.move(() => view.pan(dx, dy)),
      zoom: (factor, x, y) => this.move(() => view.zoom(factor, x, y)),
      fit: () => this.move(() => view.fit()),
      hover: (x, y, pointer) => {
        if (pointer !== 'mouse') return;
        cancelAnimationFrame(hovering);
        hovering = requestAnimationFrame(() => onRegions(regions(x, y), x, y, false));
      },
      leave: () => {
        cancelAnimationFrame(hovering);
        onRegions([], 0, 0, false);
      },
      click: (x, y) => onRegions(regions(x, y), x, y, true),
      drawing: (...corners) => boxes.setDraft(toImage(corners), plus()),
      drawn: (...corners) => {
        boxes.setDraft(null);
        const { image } = store.state;
        const box = image && tidyBox(toImage(corners), image.width, image.height);
        if (box) addBox(store, box, plus() ? 1 : 0);
      },
      abandon: () => boxes.setDraft(null),
      tool: () => (store.state.image ? store.state.tool : 'pan'),
    });
  }

  #resized() {
    const { width, height, bottom } = this.element.getBoundingClientRect();
    this.view.foot = this.#bar.hidden ? 0 : Math.max(0, bottom - this.#bar.getBoundingClientRect().top);
    this.move(() => this.view.resize(width, height));
  }

  /** Changes the view. @param {() => void} change */
  move(change) {
    change();
    this.#moving = performance.now();
    this.boxes.place();
    $('#zoom-level').textContent = `${Math.round(this.view.scale * 100)}%`;
    this.redraw();
  }

  redraw() {
    if (!this.#frame) this.#frame = requestAnimationFrame((now) => this.#draw(now));
  }

  /**
   * While the view moves on a machine that is too slow for it, outlines are left out; they come back at rest.
   * @param {number} now
   */
  #draw(now) {
    this.#frame = 0;
    const { view, store } = this;
    const moving = now - this.#moving < REST_AFTER;
    const took = now - this.#lastFrame;
    if (moving && took > SLOW_FRAME && took < 200) this.#slow = true;
    this.#lastFrame = now;
    const fast = moving && this.#slow;
    this.viewer.draw({
      scale: view.scale, x: view.x, y: view.y, width: view.width, height: view.height,
      ratio: Math.min(devicePixelRatio, 2), mode: store.state.mode, fast,
    });
    if (fast) setTimeout(() => this.redraw(), REST_AFTER);
  }

  recolour() {
    this.viewer.setColours(colourTable(this.store.state));
    this.redraw();
  }

  /** Shows an image without masks. @param {import('./types.js').OpenImage} image */
  async setImage(image) {
    this.#result++;
    this.map = null;
    await this.viewer.setImage(image.bitmap);
    this.view.imageWidth = image.width;
    this.view.imageHeight = image.height;
    this.move(() => this.view.fit());
  }

  /** Paints the index map of a new result, whose masks the worker has. */
  async showResult() {
    this.#result++;
    this.#painted = '';
    if (!this.store.state.instances.length) {
      this.map = null;
      this.viewer.setIndex(null);
      this.recolour();
      return;
    }
    await this.#paint(true);
  }

  #rebuildSoon() {
    clearTimeout(this.#rebuild);
    if (this.#overlaps) this.#rebuild = window.setTimeout(() => this.#paint(false), REBUILD_AFTER);
  }

  /** @param {boolean} all paint every instance, to learn whether any overlap */
  async #paint(all) {
    const result = this.#result;
    const { state } = this.store;
    const instances = paintOrder(all ? state.instances : visibleInstances(state));
    const order = instances.map(({ index }) => index);
    if (order.join() === this.#painted) return;
    const { map, overlaps } = await this.background.call('index', { order });
    if (result !== this.#result) return;
    this.#painted = order.join();
    this.map = map;
    if (all) this.#overlaps = overlaps;
    this.viewer.setIndex(map);
    this.recolour();
    if (all) this.#rebuildSoon();
  }

  /** The index map of exactly what is visible now, for downloads. */
  async settledMap() {
    clearTimeout(this.#rebuild);
    if (this.#overlaps) await this.#paint(false);
    return this.map;
  }
}
