/** The example boxes that lie over the image. */
import { $, h } from './dom.js';
import { t } from './i18n.js';

/**
 * @typedef {import('./types.js').Box} Box
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./view.js').View} View
 */

/** @param {number} v @param {number} most */
const within = (v, most) => Math.min(Math.max(Math.round(v), 0), most);

/**
 * A box of whole pixels inside the image, or null when nothing of it is there.
 * @param {number[]} box corners in any order
 * @param {number} width
 * @param {number} height
 * @returns {Box | null}
 */
export function tidyBox([ax, ay, bx, by], width, height) {
  if (![ax, ay, bx, by].every(Number.isFinite)) return null;
  /** @type {Box} */
  const box = [within(Math.min(ax, bx), width), within(Math.min(ay, by), height),
    within(Math.max(ax, bx), width), within(Math.max(ay, by), height)];
  return box[2] - box[0] >= 1 && box[3] - box[1] >= 1 ? box : null;
}

export class BoxLayer {
  /** @param {Store} store @param {View} view */
  constructor(store, view) {
    this.store = store;
    this.view = view;
    this.layer = $('#boxes');
    /** @type {{element: HTMLElement, box: number[]}[]} */
    this.shown = [];
    /** @type {{element: HTMLElement, box: number[]} | null} */
    this.draft = null;
    store.on(['prompts', 'active', 'image'], () => this.rebuild());
  }

  rebuild() {
    const { prompts, active } = this.store.state;
    this.shown = prompts.flatMap((prompt, p) => prompt.boxes.map(({ box, label }) => ({
      box,
      element: h('div', { class: `exemplar ${label ? 'plus' : 'minus'}${p === active || prompt.text === null ? '' : ' other'}` },
        h('span', { text: `${label ? '+' : '−'} ${prompt.text ?? t('prompt.visual')}` })),
    })));
    this.layer.replaceChildren(...this.shown.map(({ element }) => element));
    if (this.draft) this.layer.append(this.draft.element);
    this.place();
  }

  /** @param {number[] | null} box in image pixels @param {boolean} [plus] */
  setDraft(box, plus = true) {
    this.draft?.element.remove();
    this.draft = box && { box, element: h('div', { class: `exemplar draft ${plus ? 'plus' : 'minus'}` }) };
    if (this.draft) this.layer.append(this.draft.element);
    this.place();
  }

  place() {
    for (const { element, box } of this.draft ? [...this.shown, this.draft] : this.shown) {
      const [x0, y0] = this.view.toScreen(Math.min(box[0], box[2]), Math.min(box[1], box[3]));
      element.style.transform = `translate(${x0}px, ${y0}px)`;
      element.style.width = `${Math.abs(box[2] - box[0]) * this.view.scale}px`;
      element.style.height = `${Math.abs(box[3] - box[1]) * this.view.scale}px`;
    }
  }
}
