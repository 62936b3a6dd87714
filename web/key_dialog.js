/** Asks for the API key when the server wants one. */
import { $, $dialog, $input } from './dom.js';

/** @type {Promise<string | null> | null} several requests that fail at once ask once */
let asking = null;
let asked = false;

/** @returns {Promise<string | null>} null: the person does not want to give one now */
export function askKey() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

/** @returns {Promise<string | null>} */
function ask() {
  const dialog = $dialog('#key-dialog');
  const input = $input('#key-input');
  $('#key-wrong').hidden = !asked;
  dialog.returnValue = '';
  input.value = '';
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const given = dialog.returnValue === 'ok' && input.value.trim() !== '';
      asked = given;
      resolve(given ? input.value.trim() : null);
      input.value = '';
    }, { once: true });
  });
}
