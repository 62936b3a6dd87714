/** The download menu. All files are made here, in the page. */
import { colourTable } from './colours.js';
import { compose } from './compose.js';
import { $, announce, h } from './dom.js';
import { fileStem, maskFiles, shownResult, toCoco, toJson, toLabelme, toYolo } from './formats.js';
import { onLanguage, t } from './i18n.js';
import { visibleInstances } from './regions.js';
import { zipStored } from './zip.js';

/**
 * @typedef {import('./store.js').Store} Store
 * @typedef {{name: string, blob: Blob}} Made
 */

/** @param {string} text @param {string} type */
const textBlob = (text, type = 'application/json') => new Blob([text], { type });

/**
 * @param {Store} store
 * @param {import('./background.js').Background} background
 * @param {import('./stage.js').Stage} stage
 * @returns {Record<string, () => Promise<Made>>}
 */
function makers(store, background, stage) {
  const shown = () => shownResult(store.state);
  const stem = () => fileStem(store.state.image?.name ?? '');
  const picture = async (/** @type {import('./types.js').Mode} */ mode) => {
    const map = await stage.settledMap();
    const { state } = store;
    const table = colourTable({ ...state, hover: null, selected: null, opacity: mode === 'cutout' ? 1 : state.opacity });
    const canvas = await compose(/** @type {any} */ (state.image).bitmap, map, table, mode);
    return canvas.convertToBlob({ type: 'image/png' });
  };
  return {
    json: async () => ({ name: `${stem()}.json`, blob: textBlob(toJson(shown())) }),
    coco: async () => ({ name: `${stem()}.coco.json`, blob: textBlob(toCoco(shown())) }),
    yolo: async () => {
      const { text, classes } = toYolo(shown());
      const encode = (/** @type {string} */ s) => new TextEncoder().encode(s);
      return {
        name: `${stem()}.yolo.zip`,
        blob: zipStored([{ name: `${stem()}.txt`, data: encode(text) }, { name: 'classes.txt', data: encode(classes) }]),
      };
    },
    labelme: async () => ({ name: `${stem()}.labelme.json`, blob: textBlob(toLabelme(shown())) }),
    masks: async () => ({
      name: `${stem()}.masks.zip`, blob: await background.call('maskZip', { files: maskFiles(shown()) }),
    }),
    overlay: async () => ({ name: `${stem()}.overlay.png`, blob: await picture('overlay') }),
    cutout: async () => ({ name: `${stem()}.cutout.png`, blob: await picture('cutout') }),
  };
}

/** @param {Made} made */
function save({ name, blob }) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** @param {string} format */
const formatName = (format) =>
  ({ json: 'JSON', coco: 'COCO', yolo: 'YOLO', labelme: 'Labelme' }[format] ?? t(`download.name.${format}`));

/**
 * @param {Store} store
 * @param {import('./background.js').Background} background
 * @param {import('./stage.js').Stage} stage
 * @param {(error: unknown) => void} failed
 */
export function listenToDownloads(store, background, stage, failed) {
  const made = makers(store, background, stage);
  const menu = $('#download-menu');
  const download = async (/** @type {string} */ format) => {
    menu.hidePopover();
    announce(t('download.busy'));
    try {
      const file = await made[format]();
      save(file);
      announce(t('download.done', { name: file.name }));
    } catch (error) {
      failed(error);
    }
  };
  const render = () => {
    $('#download-what').textContent = t('download.what', { n: visibleInstances(store.state).length });
    $('#download-list').replaceChildren(...Object.keys(made).map((format) =>
      h('button', { type: 'button', class: 'menu-item', data: { format }, onclick: () => download(format) },
        h('strong', { text: formatName(format) }), h('span', { class: 'quiet small', text: t(`download.${format}`) }))));
  };
  menu.addEventListener('beforetoggle', () => {
    const { bottom, right } = $('#download-button').getBoundingClientRect();
    menu.style.setProperty('--top', `${bottom + 6}px`);
    menu.style.setProperty('--right', `${innerWidth - right}px`);
    render();
  });
  store.on(['result'], ({ result }) => {
    /** @type {HTMLButtonElement} */ ($('#download-button')).disabled = !result;
  });
  onLanguage(render);
}
