/**
 * From the button to regions: the image is sent once, and asked about as often as one likes. It is asked at a low
 * threshold, so that the slider needs no new request.
 */
import { ApiError } from './api.js';
import { instanceColour } from './colours.js';

/**
 * @typedef {import('./types.js').OpenImage} OpenImage
 * @typedef {import('./types.js').ResultDocument} ResultDocument
 * @typedef {import('./types.js').Instance} Instance
 * @typedef {import('./store.js').Store} Store
 */

const ASKED_THRESHOLD = 0.05;

/**
 * @param {Store} store
 * @param {import('./api.js').Api} api
 * @param {OpenImage} image
 * @param {AbortController} abort
 * @returns {Promise<ResultDocument>}
 */
export async function segment(store, api, image, abort) {
  const { prompts } = store.state;
  const { signal } = abort;
  const cancel = () => abort.abort();
  const job = (/** @type {any} */ phase, /** @type {number | null} */ fraction = null, position = 0) =>
    store.set({ job: { phase, fraction, position, cancel } });
  const upload = async () => {
    job('uploading');
    image.id = (await api.upload(image.blob, signal)).id;
  };
  const ask = () => {
    job('queued');
    return api.segment(/** @type {string} */ (image.id), prompts, ASKED_THRESHOLD,
      (event, data) => job(event, data.fraction ?? null, data.position ?? 0), signal);
  };
  if (!image.id) await upload();
  try {
    return await ask();
  } catch (error) {
    // The server drops images that have not been used for long: it gets this one again.
    if (!(error instanceof ApiError) || error.name !== 'not-found') throw error;
    await upload();
    return ask();
  }
}

/**
 * @param {ResultDocument} result
 * @param {import('./background.js').Background} background
 * @returns {Promise<Instance[]>}
 */
export async function makeInstances(result, background) {
  const { width, height } = result.image;
  let index = 0;
  const flat = result.results.flatMap(({ detections }, group) =>
    detections.map((detection, n) => ({ ...detection, uid: `${group}.${n}`, group, index: ++index })));
  if (index > 0xffff) throw new Error(`${index} regions are more than can be shown`);
  const decoded = await background.call('load',
    { masks: flat.map(({ index, mask }) => ({ index, mask })), height, width });
  return flat.map((detection, i) => ({
    ...detection, runs: decoded[i].runs, bounds: decoded[i].bounds, colour: instanceColour(i),
  }));
}
