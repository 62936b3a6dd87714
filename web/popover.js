/** What a region is, beside the pointer; pinned by a click, with what can be done to it. */
import { $, h, iconButton } from './dom.js';
import { t } from './i18n.js';
import { formatScore } from './instances.js';
import { isVisible, shownName } from './regions.js';

/**
 * @typedef {import('./store.js').Store} Store
 */

export class Popover {
  element = $('#popover');
  /** @type {{uid: string, more: number, at: [number, number], pinned: boolean} | null} */ shown = null;

  /**
   * @param {Store} store
   * @param {import('./instances.js').RegionActions} actions
   * @param {(uid: string) => void} rename
   */
  constructor(store, actions, rename) {
    this.store = store;
    this.actions = actions;
    this.rename = rename;
    store.on(['edits', 'isolated', 'threshold', 'instances', 'selected'], () => this.#refresh());
  }

  /**
   * The regions under the pointer: shown on hover, pinned on a click; clicks at one place go through them.
   * @param {string[]} uids topmost first
   * @param {number} x
   * @param {number} y
   * @param {boolean} clicked
   */
  regions(uids, x, y, clicked) {
    const { selected } = this.store.state;
    if (clicked) {
      const before = this.shown?.pinned ? uids.indexOf(selected ?? '') : -1;
      const uid = uids.length && before !== uids.length - 1 ? uids[before + 1] : uids.length > 1 ? uids[0] : null;
      this.shown = uid ? { uid, more: uids.length - 1, at: [x, y], pinned: true } : null;
      this.store.set({ selected: uid, hover: null });
    } else {
      const uid = uids[0] ?? null;
      this.store.set({ hover: uid });
      if (!this.shown?.pinned) this.shown = uid ? { uid, more: 0, at: [x, y], pinned: false } : null;
    }
    this.#render();
  }

  hide() {
    this.shown = null;
    this.#render();
  }

  #refresh() {
    if (!this.shown) return;
    const { state } = this.store;
    const instance = state.instances.find(({ uid }) => uid === this.shown?.uid);
    if (!instance || !isVisible(instance, state) || (this.shown.pinned && state.selected !== this.shown.uid)) this.shown = null;
    this.#render();
  }

  #render() {
    const { element, shown, actions } = this;
    const { state } = this.store;
    const instance = state.instances.find(({ uid }) => uid === shown?.uid);
    element.hidden = !instance || !shown;
    if (!instance || !shown) return;
    const { uid } = instance;
    const name = shownName(instance, state);
    const swatch = h('i', { class: 'swatch' });
    swatch.style.backgroundColor = `rgb(${instance.colour.join()})`;
    element.classList.toggle('pinned', shown.pinned);
    element.replaceChildren(
      h('div', { class: 'popover-head' }, swatch, h('strong', { text: name }),
        h('span', { class: 'numbers', title: t('region.confidence'), text: formatScore(instance.score) })),
      ...(shown.pinned ? [
        h('p', { class: 'quiet small', text: `${t('region.area')} ${t('region.pixels', { n: instance.area })}` }),
        ...(shown.more ? [h('p', { class: 'quiet small', text: t('region.more', { n: shown.more }) })] : []),
        h('div', { class: 'row tight' },
          iconButton('eyeoff', t('region.hide', { name }), () => actions.toggle(uid)),
          iconButton('isolate', t(state.isolated === uid ? 'region.unisolate' : 'region.isolate', { name }), () => actions.isolate(uid),
            { 'aria-pressed': String(state.isolated === uid) }),
          iconButton('rename', t('region.rename', { name }), () => this.rename(uid)),
          iconButton('delete', t('region.delete', { name }), () => actions.delete(uid))),
      ] : []));
    const area = /** @type {HTMLElement} */ (element.offsetParent ?? document.body);
    const left = Math.min(shown.at[0] + 14, area.clientWidth - element.offsetWidth - 8);
    const below = shown.at[1] + 18;
    const top = below + element.offsetHeight > area.clientHeight - 8 ? shown.at[1] - element.offsetHeight - 12 : below;
    element.style.transform = `translate(${Math.max(left, 8)}px, ${Math.max(top, 8)}px)`;
  }
}
