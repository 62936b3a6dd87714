/** The list of regions, by phrase. */
import { $, $input, announce, h, iconButton } from './dom.js';
import { onLanguage, t } from './i18n.js';
import { promptName } from './prompts.js';
import { isListed, isVisible, shownName } from './regions.js';

/**
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./types.js').Instance} Instance
 */

/** Two decimals that never round up to a threshold which the score does not reach. @param {number} score */
export const formatScore = (score) => (Math.floor(score * 100) / 100).toFixed(2);

/** What can be done to a region: the list, the popover and the keys share it. */
export class RegionActions {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
  }

  /** @param {string} uid */
  toggle(uid) {
    const { edits, isolated } = this.store.state;
    if (isolated) this.store.edit({ isolated: null, edits: { ...edits, [uid]: { ...edits[uid], hidden: uid === isolated } } });
    else this.store.editInstance(uid, { hidden: !edits[uid]?.hidden });
  }

  /** @param {string} uid */
  isolate(uid) {
    this.store.edit({ isolated: this.store.state.isolated === uid ? null : uid });
  }

  /** @param {string} uid @param {string} name */
  rename(uid, name) {
    const trimmed = name.trim();
    const instance = this.store.state.instances.find((i) => i.uid === uid);
    if (trimmed && instance && trimmed !== shownName(instance, this.store.state)) this.store.editInstance(uid, { name: trimmed });
  }

  /** @param {string} uid */
  delete(uid) {
    const { state } = this.store;
    const instance = state.instances.find((i) => i.uid === uid);
    if (!instance) return;
    announce(t('region.deleted', { name: shownName(instance, state) }));
    this.store.editInstance(uid, { deleted: true });
    this.store.set({ selected: state.selected === uid ? null : state.selected, hover: null });
  }

  /** @param {Instance[]} instances @param {boolean} hidden */
  setHidden(instances, hidden) {
    const edits = { ...this.store.state.edits };
    for (const { uid } of instances) edits[uid] = { ...edits[uid], hidden };
    this.store.edit({ edits, isolated: null });
  }

  /** Selects the region after (or before) the selected one in the list. @param {1 | -1} step */
  step(step) {
    const { state } = this.store;
    const listed = state.instances.filter((i) => isListed(i, state));
    if (!listed.length) return;
    const at = listed.findIndex(({ uid }) => uid === state.selected);
    const next = at < 0 ? (step > 0 ? 0 : listed.length - 1) : (at + step + listed.length) % listed.length;
    this.store.set({ selected: listed[next].uid });
    announce(t('region.select', { name: shownName(listed[next], state), score: formatScore(listed[next].score) }));
  }
}

export class InstanceList {
  /** uid of the region whose name is being typed @type {string | null} */ renaming = null;
  /** @type {Map<string, HTMLElement>} */ #rows = new Map();
  #late = 0;

  /** @param {Store} store @param {RegionActions} actions */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    const threshold = $input('#threshold');
    threshold.addEventListener('input', () => store.set({ threshold: Number(threshold.value) }));
    $('#undo').addEventListener('click', () => store.undo());
    $('#redo').addEventListener('click', () => store.redo());
    $('#show-all').addEventListener('click', () => actions.setHidden(this.#listed(), false));
    $('#hide-all').addEventListener('click', () => actions.setHidden(this.#listed(), true));
    store.on(['instances'], () => {
      this.renaming = null;
    });
    store.on(['instances', 'result', 'edits', 'isolated', 'threshold'], () => this.#renderSoon());
    store.on(['image', 'result', 'prompts', 'active', 'edits', 'isolated'], () => this.#renderUndo());
    store.on(['selected'], () => this.#markSelected(true));
    store.on(['hover'], () => this.#markSelected(false));
    onLanguage(() => this.render());
  }

  #listed() {
    return this.store.state.instances.filter((i) => isListed(i, this.store.state));
  }

  /** Once a frame: the slider tells of many changes. */
  #renderSoon() {
    $('#threshold-value').textContent = this.store.state.threshold.toFixed(2);
    cancelAnimationFrame(this.#late);
    this.#late = requestAnimationFrame(() => {
      if (!this.renaming) this.render(); // drawing anew would end the typing; its end draws
    });
  }

  render() {
    const { state } = this.store;
    const list = $('#instances');
    const listed = this.#listed();
    const focus = list.contains(document.activeElement)
      ? /** @type {HTMLElement} */ (document.activeElement).dataset.key : undefined;
    $input('#threshold').value = String(state.threshold);
    $('#threshold-value').textContent = state.threshold.toFixed(2);
    $('#results-count').textContent = state.result ? String(listed.length) : '';
    $('#results-actions').hidden = !listed.length;
    this.#rows.clear();
    list.replaceChildren(...(state.result
      ? state.result.results.map((result, group) => this.#group(result, listed.filter((i) => i.group === group), group))
      : [h('p', { class: 'quiet empty', text: t('results.none') })]));
    this.#renderTiming();
    this.#markSelected(false);
    if (focus) /** @type {HTMLElement | null} */ (list.querySelector(`[data-key="${focus}"]`))?.focus();
  }

  #renderUndo() {
    /** @type {HTMLButtonElement} */ ($('#undo')).disabled = !this.store.canUndo;
    /** @type {HTMLButtonElement} */ ($('#redo')).disabled = !this.store.canRedo;
  }

  #renderTiming() {
    const timing = this.store.state.result?.timing;
    const { hidden } = $('#timing');
    $('#timing').textContent = !timing || hidden ? '' : [
      t('results.timing', { device: timing.device, ms: Math.round(timing.running_ms) }),
      timing.encoded === false ? t('results.cached') : '',
    ].filter(Boolean).join(' · ');
  }

  /** @param {import('./types.js').PromptResult} result @param {Instance[]} listed @param {number} group */
  #group(result, listed, group) {
    const { state } = this.store;
    const name = promptName(result.prompt);
    const below = state.instances.filter((i) =>
      i.group === group && i.score <= state.threshold && i.score > 0.1 && !state.edits[i.uid]?.deleted).length;
    const someVisible = listed.some((i) => isVisible(i, state));
    return h('section', { class: 'group', 'aria-label': t('results.group', { name }) },
      h('div', { class: 'group-head' },
        h('h3', { title: name }, name, result.prompt.translated && h('span', { class: 'translated', text: ` → ${result.prompt.translated}` })),
        h('span', { class: 'count numbers', text: String(listed.length) }),
        listed.length > 0 && iconButton(someVisible ? 'eye' : 'eyeoff', t(someVisible ? 'group.hide' : 'group.show', { name }),
          () => this.actions.setHidden(listed, someVisible), { data: { key: `group.${group}` } })),
      h('ul', {}, ...listed.map((instance) => this.#row(instance))),
      !listed.length && h('p', { class: 'quiet small nothing', text: t('results.nothing') }),
      below > 0 && h('p', { class: 'quiet small nothing' }, t('results.below', { n: below }), ' ',
        h('button', { type: 'button', class: 'link', text: t('results.lower'), onclick: () => this.store.set({ threshold: 0.1 }) })));
  }

  /** @param {Instance} instance */
  #row(instance) {
    const { actions } = this;
    const { state } = this.store;
    const { uid } = instance;
    const name = shownName(instance, state);
    const visible = isVisible(instance, state);
    const swatch = h('i', { class: 'swatch' });
    swatch.style.backgroundColor = `rgb(${instance.colour.join()})`;
    const row = h('li', {
      class: `instance${visible ? '' : ' off'}`, data: { uid },
      onpointerenter: () => this.store.set({ hover: uid }), onpointerleave: () => this.store.set({ hover: null }),
    },
      this.renaming === uid ? this.#nameField(instance, name) : h('button', {
        type: 'button', class: 'instance-name', 'aria-pressed': String(state.selected === uid),
        data: { key: `${uid}.name` },
        onclick: () => this.store.set({ selected: this.store.state.selected === uid ? null : uid }),
        ondblclick: () => this.rename(uid),
      }, swatch, h('span', { class: 'name', text: name }), ' ', h('span', { class: 'score numbers', text: formatScore(instance.score) })),
      h('div', { class: 'row-actions' },
        iconButton(visible ? 'eye' : 'eyeoff', t(visible ? 'region.hide' : 'region.show', { name }), () => actions.toggle(uid), { data: { key: `${uid}.eye` } }),
        iconButton('isolate', t(state.isolated === uid ? 'region.unisolate' : 'region.isolate', { name }), () => actions.isolate(uid),
          { 'aria-pressed': String(state.isolated === uid), data: { key: `${uid}.isolate` } }),
        iconButton('rename', t('region.rename', { name }), () => this.rename(uid), { data: { key: `${uid}.rename` } }),
        iconButton('delete', t('region.delete', { name }), () => actions.delete(uid), { data: { key: `${uid}.delete` } })));
    this.#rows.set(uid, row);
    return row;
  }

  /** @param {Instance} instance @param {string} name */
  #nameField({ uid }, name) {
    const input = /** @type {HTMLInputElement} */ (h('input', {
      type: 'text', class: 'rename', value: name, 'aria-label': t('region.newName'), maxlength: 100,
    }));
    const end = (/** @type {boolean} */ keep) => {
      if (this.renaming !== uid) return;
      this.renaming = null;
      if (keep) this.actions.rename(uid, input.value);
      this.render();
      /** @type {HTMLElement | null} */ (document.querySelector(`[data-key="${uid}.rename"]`))?.focus();
    };
    input.addEventListener('keydown', (event) => {
      event.stopPropagation();
      if (event.isComposing || (event.key !== 'Enter' && event.key !== 'Escape')) return;
      event.preventDefault(); // or Enter would press the button that has the focus then
      end(event.key === 'Enter');
    });
    input.addEventListener('blur', () => end(true));
    return input;
  }

  /** Lets the person type a new name. @param {string} uid */
  rename(uid) {
    this.renaming = uid;
    this.render();
    const input = /** @type {HTMLInputElement | null} */ (document.querySelector('input.rename'));
    input?.focus();
    input?.select();
  }

  /** @param {boolean} scroll */
  #markSelected(scroll) {
    const { selected, hover } = this.store.state;
    for (const [uid, row] of this.#rows) {
      row.classList.toggle('selected', uid === selected);
      row.classList.toggle('hovered', uid === hover);
      row.querySelector('.instance-name')?.setAttribute('aria-pressed', String(uid === selected));
      if (scroll && uid === selected && matchMedia('(min-width: 821px)').matches) row.scrollIntoView({ block: 'nearest' });
    }
  }
}
