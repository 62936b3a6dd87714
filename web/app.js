/** Joins the parts. */
import { Api } from './api.js';
import { Background } from './background.js';
import { DevicePanel } from './devices.js';
import { $, $dialog, $input, announce, fillIcons } from './dom.js';
import { listenToDownloads } from './download.js';
import { Drawer } from './drawer.js';
import { History } from './history.js';
import { onLanguage, switchLanguage, t, translatePage } from './i18n.js';
import { InstanceList, RegionActions } from './instances.js';
import { askKey } from './key_dialog.js';
import { showNotices, tell } from './notices.js';
import { Popover } from './popover.js';
import { showProgress } from './progress.js';
import { arrowKeys, check, PromptPanel } from './prompts.js';
import { isListed } from './regions.js';
import { makeInstances, segment } from './run.js';
import { listenToKeys } from './shortcuts.js';
import { decodeImage, listenToSources, showSamples } from './source.js';
import { Stage } from './stage.js';
import { Store } from './store.js';
import { listenToTheme } from './theme.js';

/**
 * @typedef {import('./types.js').HistoryEntry} HistoryEntry
 * @typedef {import('./types.js').Mode} Mode
 */

fillIcons();
translatePage();

const store = new Store();
const api = new Api(askKey);
const background = new Background();
const actions = new RegionActions(store);
const list = new InstanceList(store, actions);
const popover = new Popover(store, actions, (uid) => list.rename(uid));
const stage = new Stage(store, background, (uids, x, y, clicked) => popover.regions(uids, x, y, clicked));
const prompts = new PromptPanel(store, run);
const drawer = new Drawer();
const history = new History(store, drawer, restore);
new DevicePanel(api, drawer, (error) => tell(store, error, null));
let opening = 0; // counts images: the answer to an old one is dropped

/** @param {Blob} blob @param {string} name @param {string[]} [phrases] */
async function open(blob, name, phrases = []) {
  const nth = ++opening;
  store.state.job?.cancel();
  try {
    const image = await decodeImage(blob, name, phrases);
    if (nth !== opening) return;
    history.setCurrent(null);
    store.forget();
    store.set({
      image, result: null, instances: [], edits: {}, isolated: null, hover: null, selected: null, notice: null,
      prompts: store.state.prompts.filter(({ text }) => text !== null).map(({ text }) => ({ text, boxes: [] })), active: -1,
    });
    await stage.setImage(image);
    $input('#phrase').focus({ preventScroll: true });
  } catch (error) {
    if (nth === opening) tell(store, `${name}`, null, 'unsupported-media');
  }
}

/** @param {import('./types.js').Sample} sample */
async function openSample(sample) {
  try {
    const blob = await (await api.request(sample.url)).blob();
    store.set({ prompts: [], active: -1 });
    await open(blob, sample.url.split('/').pop() ?? sample.name, sample.phrases);
  } catch (error) {
    tell(store, error, () => openSample(sample));
  }
}

async function run() {
  prompts.commit();
  const { image, job } = store.state;
  if (!image || job || !store.state.prompts.length) return;
  const abort = new AbortController();
  store.set({ notice: null });
  try {
    const result = await segment(store, api, background, image, abort);
    if (abort.signal.aborted || store.state.image !== image) return;
    const instances = await makeInstances(result, background, store.state.refine);
    if (store.state.image !== image) return;
    store.forget();
    store.set({ result, instances, edits: {}, isolated: null, hover: null, selected: null });
    await stage.showResult();
    announce(t('run.done', { n: instances.filter((i) => isListed(i, store.state)).length }));
    history.add(stage.map).catch(() => {}); // only a thumbnail
  } catch (error) {
    if (/** @type {Error} */ (error).name === 'AbortError') announce(t('run.cancelled'));
    else if (store.state.image === image) tell(store, error, run);
  } finally {
    store.set({ job: null });
  }
}

/** Masks of the result on the screen at another level; no request is needed. @param {number} level */
async function refine(level) {
  const { result } = store.state;
  store.set({ refine: level });
  if (!result) return;
  const instances = await makeInstances(result, background, level);
  if (store.state.result !== result || store.state.refine !== level) return;
  store.set({ instances });
  history.change({ instances, refine: level });
  await stage.showResult();
}

function listenToOptions() {
  for (const button of document.querySelectorAll('#refine button')) {
    button.addEventListener('click', () =>
      refine(Number(/** @type {HTMLElement} */ (button).dataset.level)).catch((error) => tell(store, error, null)));
  }
  arrowKeys($('#refine'));
  const scales = $input('#scales');
  scales.addEventListener('change', () => store.set({ scales: scales.checked }));
  const render = () => {
    for (const button of document.querySelectorAll('#refine button')) {
      check(button, Number(/** @type {HTMLElement} */ (button).dataset.level) === store.state.refine);
    }
  };
  store.on(['refine'], render);
  render();
}

/** @param {HistoryEntry} entry */
async function restore(entry) {
  opening++;
  store.state.job?.cancel();
  store.forget();
  history.setCurrent(null);
  const { image, instances } = entry;
  await background.call('restore',
    { runs: instances.map(({ index, runs }) => ({ index, runs })), width: image.width, height: image.height });
  store.set({
    image, prompts: entry.prompts, active: -1, result: entry.result, instances, edits: entry.edits,
    threshold: entry.threshold, refine: entry.refine, isolated: null, hover: null, selected: null, notice: null,
  });
  history.setCurrent(entry);
  await stage.setImage(image);
  await stage.showResult();
}

function listenToView() {
  for (const button of document.querySelectorAll('#modes button')) {
    button.addEventListener('click', () => store.set({ mode: /** @type {Mode} */ (/** @type {HTMLElement} */ (button).dataset.mode) }));
  }
  arrowKeys($('#modes'));
  const opacity = $input('#opacity');
  opacity.addEventListener('input', () => store.set({ opacity: Number(opacity.value) }));
  $('#zoom-in').addEventListener('click', () => stage.move(() => stage.view.zoom(1.4)));
  $('#zoom-out').addEventListener('click', () => stage.move(() => stage.view.zoom(1 / 1.4)));
  $('#zoom-fit').addEventListener('click', () => stage.move(() => stage.view.fit()));
  const render = () => {
    for (const button of document.querySelectorAll('#modes button')) {
      check(button, /** @type {HTMLElement} */ (button).dataset.mode === store.state.mode);
    }
    $('#welcome').hidden = !!store.state.image;
    $('#viewbar').hidden = !store.state.image;
    document.title = store.state.image ? `${store.state.image.name} · sam3` : 'sam3';
  };
  store.on(['mode', 'image'], render);
  store.on(['image'], () => popover.hide());
  render();
}

/** @param {(uid: string) => void} act */
const onSelected = (act) => () => {
  if (store.state.selected) act(store.state.selected);
};

/** @param {Mode} mode */
const setMode = (mode) => () => store.set({ mode });

function holdOriginal() {
  const { mode } = store.state;
  if (mode === 'original') return;
  store.set({ mode: 'original' });
  document.addEventListener('keyup', () => store.set({ mode }), { once: true });
}

/** @param {number} step */
const moveThreshold = (step) => () =>
  store.set({ threshold: Math.min(0.9, Math.max(0.1, Math.round((store.state.threshold + step) * 100) / 100)) });

listenToKeys([
  { help: 'help.find', keys: ['Ctrl+Enter'], actions: [run] },
  { help: 'help.phrase', keys: ['/'], actions: [() => $('#phrase').focus()] },
  { help: 'help.open', keys: ['O'], actions: [() => $('#file').click()] },
  { help: 'help.tools', keys: ['V', 'B', 'N'], actions: (/** @type {const} */ (['pan', 'plus', 'minus'])).map((tool) => () => store.set({ tool })) },
  { help: 'help.modes', keys: ['1', '2', '3', '4'], actions: [setMode('original'), setMode('overlay'), setMode('masks'), setMode('cutout')] },
  { help: 'help.hold', keys: ['C'], actions: [holdOriginal] },
  { help: 'help.zoom', keys: ['+', '-', '0'], actions: [1.25, 0.8].map((f) => () => stage.move(() => stage.view.zoom(f))).concat(() => stage.move(() => stage.view.fit())) },
  { help: 'help.pan', keys: ['←', '↑', '→', '↓'], actions: [] },
  { help: 'help.next', keys: ['J', 'K'], actions: [() => actions.step(1), () => actions.step(-1)] },
  { help: 'help.hide', keys: ['H'], actions: [onSelected((uid) => actions.toggle(uid))] },
  { help: 'help.isolate', keys: ['I'], actions: [onSelected((uid) => actions.isolate(uid))] },
  { help: 'help.rename', keys: ['R'], actions: [onSelected((uid) => list.rename(uid))] },
  { help: 'help.delete', keys: ['Delete'], actions: [onSelected((uid) => actions.delete(uid))] },
  { help: 'help.undo', keys: ['Ctrl+Z', 'Ctrl+Shift+Z'], actions: [() => store.undo(), () => store.redo()] },
  { help: 'help.threshold', keys: ['[', ']'], actions: [moveThreshold(-0.05), moveThreshold(0.05)] },
  { help: 'help.escape', keys: ['Escape'], actions: [] },
  { help: 'help.help', keys: ['?'], actions: [() => $dialog('#help').showModal()] },
], () => {
  if (drawer.close()) return;
  if (store.state.job) store.state.job.cancel();
  else if (store.state.notice) store.set({ notice: null });
  else store.set({ selected: null, active: -1, isolated: null, tool: 'pan' });
});

async function start() {
  try {
    const [model, samples] = await Promise.all([api.json('/v1/model'), api.json('/v1/samples')]);
    store.set({ model, samples });
  } catch (error) {
    tell(store, error, start);
  }
}

for (const button of document.querySelectorAll('dialog [data-close]')) {
  button.addEventListener('click', () => button.closest('dialog')?.close());
}
showNotices(store);
showProgress(store);
listenToTheme();
listenToView();
listenToOptions();
listenToSources(open, (error) => tell(store, error, null, 'camera'));
listenToDownloads(store, background, stage, (error) => tell(store, error, null));
$('#language-button').addEventListener('click', switchLanguage);
store.on(['samples'], ({ samples }) => showSamples(samples, openSample));
onLanguage(() => stage.boxes.rebuild());
const showModel = () => {
  const { model } = store.state;
  $('#model-name').textContent = model ? `${model.name} · ${t('model.parameters', { n: Math.round(model.parameters / 1e5) / 10 })} · ${model.dtype}` : '';
};
store.on(['model'], showModel);
onLanguage(showModel);
start();
