/**
 * What would make the page wait: decoding run lengths, painting index maps, packing mask images. One request at a time,
 * each with an id that its answer carries.
 */
import { buildIndexMap } from './index_map.js';
import { encodeGreyPng } from './png.js';
import { fuse } from './fusion.js';
import { refine } from './refine.js';
import { decodeRuns, encodeRuns, runsArea, runsBounds } from './rle.js';
import { zipStored } from './zip.js';

/** @type {Map<number, Uint32Array>} by index: the instances of the current result */
let masks = new Map();
let height = 0;
let width = 0;

/** @param {{masks: {index: number, mask: import('./types.js').Mask}[], height: number, width: number, level: number}} request */
function load(request) {
  ({ height, width } = request);
  masks = new Map();
  const decoded = request.masks.map(({ index, mask }) => {
    if (mask.size[0] !== height || mask.size[1] !== width) {
      throw new Error(`a mask of ${mask.size[1]} × ${mask.size[0]} pixels for an image of ${width} × ${height}`);
    }
    const given = decodeRuns(mask.counts, height, width);
    const runs = refine(given, height, width, request.level);
    masks.set(index, runs);
    const counts = runs === given ? mask.counts : encodeRuns(runs, height * width);
    return { runs, bounds: runsBounds(runs, height), area: runsArea(runs), mask: { ...mask, counts } };
  });
  return { answer: decoded, transfer: [] };
}

/** @param {{runs: {index: number, runs: Uint32Array}[], height: number, width: number}} request */
function restore(request) {
  ({ height, width } = request);
  masks = new Map(request.runs.map(({ index, runs }) => [index, runs]));
  return { answer: null, transfer: [] };
}

/** @param {{order: number[]}} request the instances to paint, the last on top */
function index({ order }) {
  const instances = order.flatMap((i) => (masks.has(i) ? [{ index: i, runs: /** @type {Uint32Array} */ (masks.get(i)) }] : []));
  const { map, overlaps } = buildIndexMap(width * height, instances);
  return { answer: { map, overlaps }, transfer: [map.buffer] };
}

/** @param {{files: {name: string, index: number}[]}} request */
async function maskZip({ files }) {
  const entries = [];
  for (const file of files) {
    const grey = new Uint8Array(width * height);
    const runs = /** @type {Uint32Array} */ (masks.get(file.index));
    for (let i = 0; i < runs.length; i += 2) {
      for (let at = runs[i]; at < runs[i + 1]; at++) grey[(at % height) * width + Math.floor(at / height)] = 255;
    }
    entries.push({ name: file.name, data: await encodeGreyPng(grey, width, height) });
  }
  return { answer: zipStored(entries), transfer: [] };
}

/** @type {Record<string, (request: any) => any>} */
const tasks = {
  load, restore, index, maskZip, fuse: ({ whole, parts }) => ({ answer: fuse(whole, parts), transfer: [] }),
};

onmessage = async ({ data }) => {
  try {
    const { answer, transfer } = await tasks[data.task](data);
    postMessage({ id: data.id, answer }, { transfer });
  } catch (error) {
    postMessage({ id: data.id, error: String(/** @type {Error} */ (error).message ?? error) });
  }
};
