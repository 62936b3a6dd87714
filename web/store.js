/**
 * The state of the page, who wants to know of its changes, and undo.
 * @typedef {import('./types.js').Instance} Instance
 *
 * @typedef {Object} State
 * @property {import('./types.js').ModelInfo | null} model
 * @property {import('./types.js').Sample[]} samples
 * @property {import('./types.js').OpenImage | null} image
 * @property {import('./types.js').Prompt[]} prompts
 * @property {number} active      the prompt that new boxes belong to; -1: boxes without a phrase
 * @property {import('./types.js').ResultDocument | null} result
 * @property {Instance[]} instances
 * @property {Record<string, import('./types.js').Edit>} edits by uid
 * @property {string | null} isolated uid of the only instance shown
 * @property {number} threshold
 * @property {number} refine     level of refinement of the masks, 0: as they are
 * @property {boolean} scales     also asks about parts of the image
 * @property {number} opacity
 * @property {import('./types.js').Mode} mode
 * @property {import('./types.js').Tool} tool
 * @property {string | null} hover    uid
 * @property {string | null} selected uid
 * @property {import('./types.js').Job | null} job
 * @property {import('./types.js').Notice | null} notice
 * @property {import('./types.js').HistoryEntry[]} history
 */

/** What undo brings back. @type {(keyof State)[]} */
const UNDOABLE = ['prompts', 'active', 'edits', 'isolated'];
const UNDO_STEPS = 100;

/** @returns {State} */
const initial = () => ({
  model: null, samples: [], image: null, prompts: [], active: -1, result: null, instances: [], edits: {},
  isolated: null, threshold: 0.5, refine: 0, scales: false, opacity: 0.5, mode: 'overlay', tool: 'pan', hover: null, selected: null, job: null,
  notice: null, history: [],
});

export class Store {
  /** @type {State} */ state = initial();
  /** @type {{keys: Set<keyof State>, listener: (state: State) => void}[]} */ #listeners = [];
  /** @type {Partial<State>[]} */ #past = [];
  /** @type {Partial<State>[]} */ #future = [];

  /**
   * Calls the listener after any of the keys has changed.
   * @param {(keyof State)[]} keys
   * @param {(state: State) => void} listener
   */
  on(keys, listener) {
    this.#listeners.push({ keys: new Set(keys), listener });
  }

  /** @param {Partial<State>} patch */
  set(patch) {
    const changed = /** @type {(keyof State)[]} */ (Object.keys(patch)).filter((k) => patch[k] !== this.state[k]);
    if (!changed.length) return;
    this.state = { ...this.state, ...patch };
    for (const { keys, listener } of this.#listeners) if (changed.some((k) => keys.has(k))) listener(this.state);
  }

  /** A change that undo takes back. @param {Partial<State>} patch */
  edit(patch) {
    this.#past.push(this.#snapshot());
    if (this.#past.length > UNDO_STEPS) this.#past.shift();
    this.#future = [];
    this.set(patch);
  }

  /** @param {string} uid @param {import('./types.js').Edit} edit */
  editInstance(uid, edit) {
    this.edit({ edits: { ...this.state.edits, [uid]: { ...this.state.edits[uid], ...edit } } });
  }

  undo() {
    return this.#move(this.#past, this.#future);
  }

  redo() {
    return this.#move(this.#future, this.#past);
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** What was done before belongs to another image. */
  forget() {
    this.#past = [];
    this.#future = [];
  }

  /** @param {Partial<State>[]} from @param {Partial<State>[]} to */
  #move(from, to) {
    const snapshot = from.pop();
    if (!snapshot) return false;
    to.push(this.#snapshot());
    this.set(snapshot);
    return true;
  }

  #snapshot() {
    return /** @type {Partial<State>} */ (Object.fromEntries(UNDOABLE.map((k) => [k, this.state[k]])));
  }
}
