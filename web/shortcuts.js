/** Keys: one table makes them work and fills the help card. */
import { $, $dialog, h } from './dom.js';
import { onLanguage, t } from './i18n.js';

/**
 * @typedef {Object} Shortcut
 * @property {string} help  key of its line in the help card
 * @property {string[]} keys as shown there; several in the order of the actions
 * @property {((event: KeyboardEvent) => void)[]} actions
 */

/** Whether the person is typing. @param {EventTarget | null} target */
function isTyping(target) {
  const element = /** @type {HTMLElement | null} */ (target);
  return !!element?.matches?.('input:not([type=range]), textarea, select') || !!document.querySelector('dialog[open]');
}

/** "Ctrl+Z", "a", "?" @param {KeyboardEvent} event */
function keyName(event) {
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const control = event.ctrlKey || event.metaKey ? 'Ctrl+' : '';
  return control + (event.shiftKey && event.key.length > 1 || control && event.shiftKey ? 'Shift+' : '') + key;
}

/** @param {Shortcut[]} shortcuts @param {() => void} escape */
export function listenToKeys(shortcuts, escape) {
  /** @type {Map<string, (event: KeyboardEvent) => void>} */
  const actions = new Map();
  for (const shortcut of shortcuts) {
    shortcut.keys.forEach((key, i) => {
      if (shortcut.actions[i]) actions.set(key, shortcut.actions[i]);
    });
  }
  actions.set('=', /** @type {any} */ (actions.get('+')));
  actions.set('Backspace', /** @type {any} */ (actions.get('Delete')));
  document.addEventListener('keydown', (event) => {
    if (event.isComposing || event.altKey) return;
    const name = keyName(event);
    if (name === 'Escape' && !document.querySelector('dialog[open], [popover]:popover-open')) escape();
    if (isTyping(event.target) && name !== 'Ctrl+Enter') return;
    const action = actions.get(name);
    if (!action) return;
    event.preventDefault();
    action(event);
  });
  $('#help-button').addEventListener('click', () => $dialog('#help').showModal());
  onLanguage(() => {
    $('#help-body').replaceChildren(h('dl', { class: 'shortcuts' }, ...shortcuts.map(({ help, keys }) =>
      h('div', {}, h('dt', {}, ...keys.map((key) => h('kbd', { text: key }))), h('dd', { text: t(help) })))));
  });
}
