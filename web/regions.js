/**
 * What of a result is on the screen: pure functions of the state.
 * @typedef {import('./types.js').Instance} Instance
 * @typedef {import('./store.js').State} State
 */
import { t } from './i18n.js';
import { runsContain } from './rle.js';

/** The name of an instance, as the person may have changed it. @param {Instance} instance @param {State} state */
export const nameOf = (instance, state) => state.edits[instance.uid]?.name ?? instance.label;

/** The same for people: what example boxes alone found has no word. @param {Instance} instance @param {State} state */
export const shownName = (instance, state) =>
  state.edits[instance.uid]?.name ?? (instance.label === 'visual' ? t('prompt.visual') : instance.label);

/** Whether it is in the list: not deleted, and sure enough. @param {Instance} instance @param {State} state */
export const isListed = (instance, state) =>
  !state.edits[instance.uid]?.deleted && instance.score > state.threshold;

/** Whether it is drawn. @param {Instance} instance @param {State} state */
export const isVisible = (instance, state) =>
  isListed(instance, state) &&
  (state.isolated && state.instances.some((i) => i.uid === state.isolated && isListed(i, state))
    ? instance.uid === state.isolated
    : !state.edits[instance.uid]?.hidden);

/** @param {State} state @returns {Instance[]} */
export const visibleInstances = (state) => state.instances.filter((i) => isVisible(i, state));

/**
 * The visible instances that have pixel x, y, the topmost (most certain) first.
 * @param {State} state
 * @param {number} x
 * @param {number} y
 * @returns {Instance[]}
 */
export function instancesAt(state, x, y) {
  const image = state.image;
  if (!image || x < 0 || y < 0 || x >= image.width || y >= image.height) return [];
  return visibleInstances(state)
    .filter(({ bounds: b, runs }) => x >= b[0] && y >= b[1] && x < b[2] && y < b[3] &&
      runsContain(runs, image.height, Math.floor(x), Math.floor(y)))
    .sort((a, b) => b.score - a.score || a.index - b.index);
}

/**
 * The order of painting: the least certain first, so that the most certain lie on top.
 * @template {{score: number, index: number}} T
 * @param {T[]} instances
 */
export const paintOrder = (instances) => [...instances].sort((a, b) => a.score - b.score || b.index - a.index);
