/** The panel on the left: phrases, example boxes, which tool. */
import { $, $input, h, iconButton } from './dom.js';
import { onLanguage, t } from './i18n.js';
import { addBox, addPhrases, changeBox, removeBox, removePrompt, splitPhrases } from './prompt_edits.js';

/**
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./types.js').Prompt} Prompt
 */

/** @param {Prompt} prompt */
export const promptName = (prompt) => prompt.text ?? t('prompt.visual');

export class PromptPanel {
  /** @param {Store} store @param {() => void} run */
  constructor(store, run) {
    this.store = store;
    this.run = run;
    this.#listenToPhrase();
    for (const button of document.querySelectorAll('#tools button')) {
      button.addEventListener('click', () =>
        store.set({ tool: /** @type {any} */ (/** @type {HTMLElement} */ (button).dataset.tool) }));
    }
    arrowKeys($('#tools'));
    $('#add-box').addEventListener('click', () => this.#addBoxByNumbers());
    $('#run').addEventListener('click', run);
    store.on(['prompts', 'active'], () => this.render());
    store.on(['image', 'prompts', 'job'], () => this.renderRun());
    store.on(['image', 'model', 'prompts'], () => this.renderSuggestions());
    store.on(['tool'], () => this.renderTool());
    onLanguage(() => {
      this.render();
      this.renderRun();
      this.renderSuggestions();
      this.renderTool();
      this.renderDemo();
    });
    store.on(['model'], () => this.renderDemo());
    // Where there is room for its words they are open.
    /** @type {HTMLDetailsElement} */ ($('#demo')).open = matchMedia('(min-width: 821px) and (min-height: 820px)').matches;
  }

  #listenToPhrase() {
    const input = $input('#phrase');
    $('.phrase-field').addEventListener('click', (event) => {
      if (event.target === event.currentTarget || event.target === $('#chips')) input.focus();
    });
    input.addEventListener('keydown', (event) => {
      if (event.isComposing) return; // Enter ends the input of Chinese
      if (event.key === 'Enter') {
        const typed = input.value.trim() !== '';
        this.commit();
        if (!typed || event.ctrlKey || event.metaKey) this.run();
        event.stopPropagation();
        event.preventDefault();
      } else if (event.key === 'Backspace' && !input.value && this.store.state.prompts.length) {
        removePrompt(this.store, this.store.state.prompts.length - 1);
      }
    });
    input.addEventListener('input', (event) => {
      if (!/** @type {InputEvent} */ (event).isComposing && /[,，、;；\n]/.test(input.value)) this.commit();
    });
    input.addEventListener('compositionend', () => {
      if (/[,，、;；]/.test(input.value)) this.commit();
    });
    input.addEventListener('input', () => this.renderRun());
    input.addEventListener('blur', () => this.commit());
  }

  /** Makes phrases of what is still in the box. */
  commit() {
    const input = $input('#phrase');
    const phrases = splitPhrases(input.value);
    input.value = '';
    if (phrases.length) addPhrases(this.store, phrases);
  }

  render() {
    const { prompts, active } = this.store.state;
    $('#chips').replaceChildren(...prompts.map((prompt, p) => this.#chip(prompt, p, p === active)));
    $input('#phrase').placeholder = prompts.length ? '' : t('prompt.placeholder');
    $('#examples-help').textContent =
      active >= 0 ? t('examples.active', { name: promptName(prompts[active]) }) : t('examples.free');
    this.#renderBoxes();
  }

  /** @param {Prompt} prompt @param {number} p @param {boolean} active */
  #chip(prompt, p, active) {
    const plus = prompt.boxes.filter(({ label }) => label).length;
    const minus = prompt.boxes.length - plus;
    const name = promptName(prompt);
    const counts = `${plus ? ` +${plus}` : ''}${minus ? ` −${minus}` : ''}`;
    return h('li', { class: `chip${active ? ' active' : ''}${prompt.text === null ? ' visual' : ''}` },
      h('button', {
        type: 'button', class: 'chip-name', 'aria-pressed': String(active), title: t('prompt.select', { name }),
        onclick: () => this.store.set({ active: active ? -1 : p }),
      }, name, counts && h('span', { class: 'chip-boxes numbers', text: counts })),
      iconButton('close', t('prompt.remove', { name }), () => {
        removePrompt(this.store, p);
        $input('#phrase').focus();
      }, { class: 'chip-remove' }));
  }

  #renderBoxes() {
    const list = $('#box-list');
    const focused = list.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.key : null;
    let n = 0;
    list.replaceChildren(...this.store.state.prompts.flatMap((prompt, p) =>
      prompt.boxes.map((box, b) => this.#boxRow(prompt, p, box, b, ++n))));
    if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-key="${focused}"]`))?.focus();
  }

  /** @param {Prompt} prompt @param {number} p @param {import('./types.js').Exemplar} exemplar @param {number} b @param {number} n */
  #boxRow(prompt, p, { box, label }, b, n) {
    const { store } = this;
    const other = t(label ? 'examples.negative' : 'examples.positive');
    const inputs = ['x0', 'y0', 'x1', 'y1'].map((name, side) => h('input', {
      type: 'number', min: 0, step: 1, value: Math.round(box[side]), 'aria-label': t('examples.coordinate', { n, name }),
      title: name, data: { key: `${p}.${b}.${side}` },
      onchange: (/** @type {Event} */ event) => this.#setSide(p, b, side, /** @type {HTMLInputElement} */ (event.target)),
    }));
    return h('li', { class: `box-row ${label ? 'plus' : 'minus'}` },
      h('button', {
        type: 'button', class: 'sign', text: label ? '+' : '−', title: t('examples.flip', { n, name: other }),
        'aria-label': t('examples.flip', { n, name: other }), data: { key: `${p}.${b}.sign` },
        onclick: () => changeBox(store, p, b, { label: label ? 0 : 1 }),
      }),
      h('div', { class: 'box-fields' }, h('span', { class: 'box-name', text: promptName(prompt) }), h('div', { class: 'box-numbers' }, ...inputs)),
      iconButton('close', t('examples.remove', { n }), () => removeBox(store, p, b)));
  }

  /** @param {number} p @param {number} b @param {number} side @param {HTMLInputElement} input */
  #setSide(p, b, side, input) {
    const { image, prompts } = this.store.state;
    if (!image) return;
    const box = /** @type {import('./types.js').Box} */ ([...prompts[p].boxes[b].box]);
    const most = side % 2 ? image.height : image.width;
    const value = Math.min(Math.max(Math.round(Number(input.value) || 0), 0), most);
    // A box keeps one pixel at least.
    box[side] = side < 2 ? Math.min(value, box[side + 2] - 1) : Math.max(value, box[side - 2] + 1);
    input.value = String(box[side]);
    changeBox(this.store, p, b, { box });
  }

  /** In the middle of the image; the fields then move it. */
  #addBoxByNumbers() {
    const { image, tool } = this.store.state;
    if (!image) return;
    const { width: w, height: h } = image;
    addBox(this.store, [Math.floor(w * 0.375), Math.floor(h * 0.375), Math.ceil(w * 0.625), Math.ceil(h * 0.625)],
      tool === 'minus' ? 0 : 1);
    /** @type {HTMLElement | null} */ (document.querySelector('#box-list li:last-child input'))?.focus();
  }

  renderRun() {
    const { image, prompts, job } = this.store.state;
    const any = prompts.length > 0 || $input('#phrase').value.trim() !== '';
    /** @type {HTMLButtonElement} */ ($('#run')).disabled = !image || !any || job !== null;
    $('#run-why').textContent = job ? '' : !image ? t('run.noImage') : any ? '' : t('run.noPrompt');
    /** @type {HTMLButtonElement} */ ($('#add-box')).disabled = !image;
  }

  renderTool() {
    for (const button of document.querySelectorAll('#tools button')) {
      check(button, /** @type {HTMLElement} */ (button).dataset.tool === this.store.state.tool);
    }
  }

  renderSuggestions() {
    const { image, prompts } = this.store.state;
    const used = new Set(prompts.map(({ text }) => text));
    const phrases = (image?.phrases ?? []).filter((phrase) => !used.has(phrase));
    $('#suggestions').hidden = !phrases.length;
    $('#suggestion-list').replaceChildren(...phrases.map((phrase) => this.#word(phrase)));
  }

  /** @param {string} phrase */
  #word(phrase) {
    return h('button', { type: 'button', class: 'word', text: phrase, onclick: () => addPhrases(this.store, [phrase]) });
  }

  renderDemo() {
    const { model } = this.store.state;
    const words = model?.vocabulary ?? [];
    $('#demo').hidden = !model?.demo;
    $('#demo-text').textContent = t(words.length ? 'demo.text' : 'demo.textUnknown');
    $('#demo-words').replaceChildren(...words.map((word) => this.#word(word)));
  }
}

/** Marks one of a group of radio buttons. @param {Element} button @param {boolean} checked */
export function check(button, checked) {
  button.setAttribute('aria-checked', String(checked));
  /** @type {HTMLElement} */ (button).tabIndex = checked ? 0 : -1;
}

/** Arrow keys choose within a group of radio buttons. @param {HTMLElement} group */
export function arrowKeys(group) {
  group.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...group.querySelectorAll('button')];
    const next = buttons[(buttons.indexOf(/** @type {any} */ (document.activeElement)) + step + buttons.length) % buttons.length];
    next.click();
    next.focus();
    event.preventDefault();
  });
}
