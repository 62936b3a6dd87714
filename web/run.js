/**
 * From the button to regions: the image is sent once, and asked about as often as one likes. It is asked at a low
 * threshold, so that the slider needs no new request.
 */
import { ApiError } from './api.js';
import { instanceColour } from './colours.js';
import { promptsOf, quarters } from './fusion.js';

/**
 * @typedef {import('./types.js').OpenImage} OpenImage
 * @typedef {import('./types.js').ResultDocument} ResultDocument
 * @typedef {import('./types.js').Instance} Instance
 * @typedef {import('./store.js').Store} Store
 */

const ASKED_THRESHOLD = 0.05;

/**
 * @typedef {import('./types.js').Sent} Sent
 * @typedef {import('./types.js').Prompt} Prompt
 */

/**
 * Asks about an image, or a part of one, that is sent when the server does not have it.
 * @param {Store} store
 * @param {import('./api.js').Api} api
 * @param {Sent} image
 * @param {Prompt[]} prompts
 * @param {AbortController} abort
 * @param {[number, number]} part  of how many parts: 0 of 1 for an image alone
 * @returns {Promise<ResultDocument>}
 */
async function ask(store, api, image, prompts, abort, part) {
  const { signal } = abort;
  const cancel = () => abort.abort();
  const job = (/** @type {any} */ phase, /** @type {number | null} */ fraction = null, position = 0) =>
    store.set({ job: { phase, fraction, position, part, cancel } });
  const upload = async () => {
    job('uploading');
    image.id = (await api.upload(image.blob, signal)).id;
  };
  const segment = () => {
    job('queued');
    return api.segment(/** @type {string} */ (image.id), prompts, ASKED_THRESHOLD,
      (event, data) => job(event, data.fraction ?? null, data.position ?? 0), signal);
  };
  if (!image.id) await upload();
  try {
    return await segment();
  } catch (error) {
    // The server drops images that have not been used for long: it gets this one again.
    if (!(error instanceof ApiError) || error.name !== 'not-found') throw error;
    await upload();
    return segment();
  }
}

/** A part of an image as one to send. @param {ImageBitmap} bitmap @param {import('./types.js').Box} box @returns {Promise<Sent>} */
async function cutOut(bitmap, [x0, y0, x1, y1]) {
  const canvas = new OffscreenCanvas(x1 - x0, y1 - y0);
  /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d')).drawImage(bitmap, -x0, -y0);
  return { blob: await canvas.convertToBlob({ type: 'image/png' }), id: null };
}

/**
 * @param {Store} store
 * @param {import('./api.js').Api} api
 * @param {import('./background.js').Background} background
 * @param {OpenImage} image
 * @param {AbortController} abort
 * @returns {Promise<ResultDocument>}
 */
export async function segment(store, api, background, image, abort) {
  const { prompts, scales } = store.state;
  if (!scales) return ask(store, api, image, prompts, abort, [0, 1]);
  const boxes = quarters(image.width, image.height);
  const whole = await ask(store, api, image, prompts, abort, [0, boxes.length + 1]);
  const parts = [];
  for (const [i, box] of boxes.entries()) {
    const asked = promptsOf(prompts, box);
    if (!asked.length) continue;
    image.parts[i] ??= await cutOut(image.bitmap, box);
    const result = await ask(store, api, image.parts[i], asked.map(({ prompt }) => prompt), abort, [i + 1, boxes.length + 1]);
    parts.push({ box, groups: asked.map(({ group }) => group), result });
  }
  return background.call('fuse', { whole, parts });
}

/**
 * The regions of a result, refined.
 * @param {ResultDocument} result
 * @param {import('./background.js').Background} background
 * @param {number} level  of refinement
 * @returns {Promise<Instance[]>}
 */
export async function makeInstances(result, background, level) {
  const { width, height } = result.image;
  let index = 0;
  const flat = result.results.flatMap(({ detections }, group) =>
    detections.map((detection, n) => ({ ...detection, uid: `${group}.${n}`, group, index: ++index })));
  if (index > 0xffff) throw new Error(`${index} regions are more than can be shown`);
  const decoded = await background.call('load',
    { masks: flat.map(({ index, mask }) => ({ index, mask })), height, width, level });
  return flat.map((detection, i) => ({ ...detection, ...decoded[i], colour: instanceColour(i) }));
}
