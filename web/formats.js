/**
 * The result formats of docs/formats.md, of what is shown: pure functions that give text.
 * @typedef {import('./types.js').Instance} Instance
 * @typedef {import('./types.js').Prompt} Prompt
 * @typedef {{prompt: Prompt, presence: number, instances: (Instance & {name: string})[]}} Group
 * @typedef {{model: string, path: string, width: number, height: number, groups: Group[]}} Shown
 */
import { tracePolygons } from './polygons.js';
import { isVisible, nameOf } from './regions.js';

/** @param {import('./store.js').State} state @returns {Shown} */
export function shownResult(state) {
  if (!state.result || !state.image) throw new Error('there is no result');
  return {
    model: state.result.model,
    path: state.image.name,
    width: state.image.width,
    height: state.image.height,
    groups: state.result.results.map(({ prompt, presence }, group) => ({
      prompt, presence,
      instances: state.instances.filter((i) => i.group === group && isVisible(i, state))
        .map((i) => ({ ...i, name: nameOf(i, state) })),
    })),
  };
}

/** Different labels: those of the prompts first, also of prompts that found nothing. @param {Shown} shown */
function labels(shown) {
  return [...new Set([
    ...shown.groups.map(({ prompt }) => prompt.text ?? 'visual'),
    ...shown.groups.flatMap(({ instances }) => instances.map(({ name }) => name)),
  ])];
}

/** @param {unknown} value */
const print = (value) => `${JSON.stringify(value)}\n`;

/** @param {Shown} shown */
export function toJson({ model, path, width, height, groups }) {
  return print({
    model, image: { path, width, height },
    results: groups.map(({ prompt, presence, instances }) => ({
      prompt, presence,
      detections: instances.map(({ name, score, box, area, mask }, id) => ({ id, label: name, score, box, area, mask })),
    })),
  });
}

/** @param {Shown} shown */
export function toCoco(shown) {
  const names = labels(shown);
  const all = shown.groups.flatMap(({ instances }) => instances);
  return print({
    info: { description: 'sam3', model: shown.model },
    images: [{ id: 1, file_name: shown.path, width: shown.width, height: shown.height }],
    categories: names.map((name, i) => ({ id: i + 1, name, supercategory: '' })),
    annotations: all.map(({ name, mask, bounds: b, area, score }, i) => ({
      id: i + 1, image_id: 1, category_id: names.indexOf(name) + 1, segmentation: mask,
      bbox: [b[0], b[1], b[2] - b[0], b[3] - b[1]], area, iscrowd: 0, score,
    })),
  });
}

/** @param {Shown} shown @returns {{text: string, classes: string}} */
export function toYolo(shown) {
  const names = labels(shown);
  const lines = shown.groups.flatMap(({ instances }) => instances).flatMap(({ name, runs }) =>
    tracePolygons(runs, shown.width, shown.height).map(({ outer }) =>
      [names.indexOf(name), ...outer.flatMap(([x, y]) => [(x / shown.width).toFixed(6), (y / shown.height).toFixed(6)])].join(' ')));
  return { text: lines.map((line) => `${line}\n`).join(''), classes: names.map((name) => `${name}\n`).join('') };
}

/** @param {Shown} shown */
export function toLabelme(shown) {
  const all = shown.groups.flatMap(({ instances }) => instances);
  return print({
    version: '5.5.0', flags: {},
    shapes: all.flatMap(({ name, runs }, group) => tracePolygons(runs, shown.width, shown.height).map(({ outer }) => ({
      label: name, points: outer, group_id: group, description: '', shape_type: 'polygon', flags: {}, mask: null,
    }))),
    imagePath: shown.path, imageData: null, imageHeight: shown.height, imageWidth: shown.width,
  });
}

/** File names of the mask images: <stem>-<prompt>-<detection>.png. @param {Shown} shown */
export function maskFiles(shown) {
  const stem = fileStem(shown.path);
  return shown.groups.flatMap(({ instances }, g) =>
    instances.map(({ index }, i) => ({ name: `${stem}-${g}-${i}.png`, index })));
}

/** The name of a file without its ending and without what no file system takes. @param {string} path */
export const fileStem = (path) =>
  path.replace(/\.[^.]*$/, '').replace(/[\\/:*?"<>|\u0000-\u001f]/g, '_') || 'image';
