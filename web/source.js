/** Where images come from: a file, a drop, the clipboard, the camera, the samples. */
import { $, $dialog, $input, h } from './dom.js';
import { t } from './i18n.js';

/**
 * @typedef {import('./types.js').OpenImage} OpenImage
 * @typedef {(blob: Blob, name: string, phrases?: string[]) => void} Open
 */

const SENT_AS_THEY_ARE = ['image/jpeg', 'image/png', 'image/webp'];

/**
 * Whether it may say how it is to be turned: all browsers follow that in a JPEG, the server in a PNG and a WebP as well.
 * @param {Blob} blob
 */
async function mayBeTurned(blob) {
  if (blob.type === 'image/jpeg') return false;
  const name = blob.type === 'image/png' ? 'eXIf' : 'EXIF'; // of the chunk
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const [first, ...rest] = new TextEncoder().encode(name);
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (rest.every((byte, i) => bytes[at + 1 + i] === byte)) return true;
  }
  return false;
}

/**
 * Decodes an image; what the server does not read but the browser does, or may see otherwise, is made a PNG.
 * @param {Blob} blob
 * @param {string} name
 * @param {string[]} phrases
 * @returns {Promise<OpenImage>}
 */
export async function decodeImage(blob, name, phrases) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  let sent = blob;
  if (!SENT_AS_THEY_ARE.includes(blob.type) || (await mayBeTurned(blob))) {
    const canvas = new OffscreenCanvas(width, height);
    /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d')).drawImage(bitmap, 0, 0);
    sent = await canvas.convertToBlob({ type: 'image/png' });
  }
  return { name, blob: sent, bitmap, width, height, id: null, phrases, parts: [] };
}

/** @param {Open} open @param {(error: unknown) => void} cameraFailed */
export function listenToSources(open, cameraFailed) {
  const file = $input('#file');
  for (const id of ['#choose', '#open-button']) $(id).addEventListener('click', () => file.click());
  file.addEventListener('change', () => {
    if (file.files?.[0]) open(file.files[0], file.files[0].name);
    file.value = '';
  });
  document.addEventListener('paste', (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'));
    if (!pasted) return;
    event.preventDefault();
    open(pasted, pasted.name || `${t('paste.name')}.png`);
  });
  listenToDrops(open);
  listenToCamera(open, cameraFailed);
}

/** @param {Open} open */
function listenToDrops(open) {
  const hint = $('#drop-hint');
  const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files');
  document.addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    hint.hidden = false;
  });
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) hint.hidden = true;
  });
  document.addEventListener('drop', (event) => {
    hint.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    const dropped = event.dataTransfer?.files[0];
    if (dropped) open(dropped, dropped.name);
  });
}

/** @param {Open} open @param {(error: unknown) => void} failed */
function listenToCamera(open, failed) {
  const dialog = $dialog('#camera');
  const video = /** @type {HTMLVideoElement} */ ($('#camera-video'));
  /** @type {MediaStream | null} */
  let stream = null;
  $('#camera-button').addEventListener('click', async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1920 } } });
      video.srcObject = stream;
      dialog.showModal();
    } catch (error) {
      failed(error);
    }
  });
  dialog.addEventListener('close', () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });
  $('#camera-shot').addEventListener('click', async () => {
    if (!video.videoWidth) return;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d')).drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 });
    dialog.close();
    open(blob, `${t('camera.name')}.jpg`);
  });
}

/** @param {import('./types.js').Sample[]} samples @param {(sample: import('./types.js').Sample) => void} choose */
export function showSamples(samples, choose) {
  $('#samples-area').hidden = !samples.length;
  $('#samples').replaceChildren(...samples.map((sample) => {
    const name = sample.name.replace(/\.\w+$/, '');
    return h('li', {}, h('button', { type: 'button', class: 'sample', onclick: () => choose(sample) },
      h('img', { src: sample.url, alt: '', loading: 'lazy' }), h('span', { text: name })));
  }));
}
