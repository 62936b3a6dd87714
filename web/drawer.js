/** The panel at the right edge that shows the history or the devices, never both. */
import { $ } from './dom.js';
import { onLanguage, t } from './i18n.js';

/**
 * @typedef {{button: HTMLElement, title: string, open: (body: HTMLElement) => void, close?: () => void}} Content
 *   title: a key of the texts; open also draws anew when the language has changed
 */

export class Drawer {
  element = $('#drawer');
  /** @type {Content | null} */ content = null;

  constructor() {
    $('#drawer-close').addEventListener('click', () => this.close());
    onLanguage(() => this.#fill());
  }

  /** @param {Content} content */
  add(content) {
    content.button.addEventListener('click', () => (this.content === content ? this.close() : this.open(content)));
  }

  #fill() {
    if (!this.content) return;
    $('#drawer-title').textContent = t(this.content.title);
    this.content.open($('#drawer-body'));
  }

  /** @param {Content} content */
  open(content) {
    this.#leave();
    this.content = content;
    content.button.setAttribute('aria-expanded', 'true');
    this.element.hidden = false;
    this.#fill();
    $('#drawer-close').focus();
  }

  #leave() {
    this.content?.close?.();
    this.content?.button.setAttribute('aria-expanded', 'false');
    $('#drawer-body').replaceChildren();
  }

  /** @returns {boolean} whether it was open */
  close() {
    const { content } = this;
    if (!content) return false;
    this.#leave();
    this.content = null;
    this.element.hidden = true;
    content.button.focus();
    return true;
  }
}
