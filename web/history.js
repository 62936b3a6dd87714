/** What was found in this session. It is kept in memory: going back to it asks the server for nothing. */
import { colourTable } from './colours.js';
import { compose } from './compose.js';
import { $, h } from './dom.js';
import { t } from './i18n.js';
import { promptName } from './prompts.js';
import { isListed } from './regions.js';

/**
 * @typedef {import('./types.js').HistoryEntry} HistoryEntry
 * @typedef {import('./store.js').Store} Store
 */

const MOST_ENTRIES = 30;
const THUMB = 160;

export class History {
  /** @type {HistoryEntry | null} the one on the screen */ #current = null;

  /** @param {Store} store @param {import('./drawer.js').Drawer} drawer @param {(entry: HistoryEntry) => void} restore */
  constructor(store, drawer, restore) {
    this.store = store;
    this.drawer = drawer;
    this.restore = restore;
    /** @type {import('./drawer.js').Content} */
    this.content = { button: $('#history-button'), title: 'history.title', open: (body) => this.#render(body) };
    drawer.add(this.content);
    store.on(['edits', 'threshold'], ({ edits, threshold }) => {
      if (this.#current) Object.assign(this.#current, { edits, threshold });
    });
    store.on(['history'], () => {
      if (drawer.content === this.content) this.#render($('#drawer-body'));
    });
  }

  /** Edits from now on belong to this entry; to none: null. @param {HistoryEntry | null} entry */
  setCurrent(entry) {
    this.#current = entry;
  }

  /** The same regions, refined otherwise. @param {Pick<HistoryEntry, 'instances' | 'refine'>} change */
  change(change) {
    if (this.#current) Object.assign(this.#current, change);
  }

  /** Keeps what is on the screen. @param {Uint16Array | null} map */
  async add(map) {
    const { image, prompts, result, instances, edits, threshold, refine, history } = this.store.state;
    if (!image || !result) return;
    /** @type {HistoryEntry} */
    const entry = { thumb: '', image, prompts, result, instances, edits, threshold, refine, time: new Date() };
    this.#current = entry;
    this.store.set({ history: [entry, ...history].slice(0, MOST_ENTRIES) });
    for (const old of history.slice(MOST_ENTRIES - 1)) URL.revokeObjectURL(old.thumb);
    entry.thumb = await this.#thumb(image.bitmap, map);
    this.store.set({ history: [...this.store.state.history] });
  }

  /** @param {ImageBitmap} bitmap @param {Uint16Array | null} map */
  async #thumb(bitmap, map) {
    const { state } = this.store;
    const scale = Math.min(1, THUMB * 2 / Math.max(bitmap.width, bitmap.height));
    const width = Math.max(1, Math.round(bitmap.width * scale));
    const height = Math.max(1, Math.round(bitmap.height * scale));
    const small = await createImageBitmap(bitmap, { resizeWidth: width, resizeHeight: height, resizeQuality: 'medium' });
    const smallMap = map && new Uint16Array(width * height);
    for (let x = 0; smallMap && map && x < width; x++) {
      const column = Math.min(bitmap.width - 1, Math.floor((x + 0.5) / scale)) * bitmap.height;
      for (let y = 0; y < height; y++) {
        smallMap[x * height + y] = map[column + Math.min(bitmap.height - 1, Math.floor((y + 0.5) / scale))];
      }
    }
    const canvas = await compose(small, smallMap, colourTable({ ...state, hover: null, selected: null }), 'overlay');
    small.close();
    return URL.createObjectURL(await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.85 }));
  }

  /** @param {HTMLElement} body */
  #render(body) {
    const { history } = this.store.state;
    if (!history.length) {
      body.replaceChildren(h('p', { class: 'quiet', text: t('history.none') }));
      return;
    }
    body.replaceChildren(h('ul', { class: 'history' }, ...history.map((entry) => this.#entry(entry))));
  }

  /** @param {HistoryEntry} entry */
  #entry(entry) {
    const prompts = entry.prompts.map(promptName).join(', ');
    const n = entry.instances.filter((i) => isListed(i, { ...this.store.state, ...entry })).length;
    return h('li', {}, h('button', {
      type: 'button', class: 'history-entry', title: t('history.restore'),
      onclick: () => this.restore(entry),
    },
      entry.thumb ? h('img', { src: entry.thumb, alt: '' }) : h('span', { class: 'thumb' }),
      h('span', { class: 'history-text' }, h('strong', { text: prompts }), h('span', { class: 'quiet small', text: entry.image.name }),
        h('span', { class: 'quiet small', text: `${t('history.regions', { n })} · ${entry.time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}` }))));
  }
}
