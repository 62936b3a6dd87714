/**
 * Changes of the prompts. Boxes belong to the active phrase; without one, to the prompt that has only boxes.
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./types.js').Box} Box
 * @typedef {import('./types.js').Prompt} Prompt
 */

/** Phrases out of what was typed: separated by commas, also Chinese ones, and line ends. @param {string} text */
export const splitPhrases = (text) =>
  text.split(/[,，、;；\n]/).map((phrase) => phrase.trim().replace(/\s+/g, ' ')).filter(Boolean);

/** @param {Store} store @param {string[]} phrases @returns {boolean} whether any was new */
export function addPhrases(store, phrases) {
  const { prompts } = store.state;
  const known = new Set(prompts.map(({ text }) => text));
  const fresh = [...new Set(phrases)].filter((phrase) => !known.has(phrase));
  if (fresh.length) {
    store.edit({ prompts: [...prompts, ...fresh.map((text) => ({ text, boxes: [] }))] });
  }
  return fresh.length > 0;
}

/** @param {Store} store @param {number} p */
export function removePrompt(store, p) {
  const { prompts, active } = store.state;
  store.edit({ prompts: prompts.filter((_, i) => i !== p), active: active === p ? -1 : active > p ? active - 1 : active });
}

/** @param {Store} store @param {Box} box @param {0 | 1} label */
export function addBox(store, box, label) {
  const { prompts, active } = store.state;
  const target = active >= 0 ? active : prompts.findIndex(({ text }) => text === null);
  const exemplar = { box, label };
  if (target < 0) store.edit({ prompts: [...prompts, { text: null, boxes: [exemplar] }] });
  else changePrompt(store, target, (prompt) => ({ ...prompt, boxes: [...prompt.boxes, exemplar] }));
}

/** @param {Store} store @param {number} p @param {number} b @param {Partial<import('./types.js').Exemplar>} change */
export function changeBox(store, p, b, change) {
  changePrompt(store, p, (prompt) => ({
    ...prompt, boxes: prompt.boxes.map((box, i) => (i === b ? { ...box, ...change } : box)),
  }));
}

/** The prompt that has only boxes goes with its last one. @param {Store} store @param {number} p @param {number} b */
export function removeBox(store, p, b) {
  const prompt = store.state.prompts[p];
  if (prompt.text === null && prompt.boxes.length === 1) removePrompt(store, p);
  else changePrompt(store, p, (old) => ({ ...old, boxes: old.boxes.filter((_, i) => i !== b) }));
}

/** @param {Store} store @param {number} p @param {(prompt: Prompt) => Prompt} change */
function changePrompt(store, p, change) {
  store.edit({ prompts: store.state.prompts.map((prompt, i) => (i === p ? change(prompt) : prompt)) });
}
