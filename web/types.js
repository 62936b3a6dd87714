/**
 * The shapes that the modules share; nothing runs here.
 *
 * @typedef {[number, number, number, number]} Box  x0, y0, x1, y1 in image pixels
 * @typedef {{box: Box, label: 0 | 1}} Exemplar     label 1: like this, 0: not like this
 * @typedef {{text: string | null, boxes: Exemplar[], translated?: string}} Prompt
 * @typedef {{size: [number, number], counts: string}} Mask  height, width; COCO's compressed run lengths
 * @typedef {{id: number, label: string, score: number, box: Box, area: number, mask: Mask}} Detection
 * @typedef {{prompt: Prompt, presence: number, detections: Detection[]}} PromptResult
 * @typedef {{queued_ms: number, running_ms: number, device: string, encoded: boolean}} Timing
 * @typedef {{model: string, image: {path: string, width: number, height: number}, results: PromptResult[],
 *            timing?: Timing}} ResultDocument
 *
 * @typedef {Object} Instance  a detection of the result on the screen
 * @property {string} uid       group and place in it: "0.3"
 * @property {number} index     its value in the index map, from 1
 * @property {number} group     which prompt found it
 * @property {string} label     as the server named it
 * @property {number} score
 * @property {Box} box
 * @property {number} area
 * @property {Mask} mask
 * @property {Uint32Array} runs  begin and end of each run, in pixels down the columns
 * @property {Box} bounds       smallest box around the mask
 * @property {[number, number, number]} colour
 *
 * @typedef {{hidden?: boolean, deleted?: boolean, name?: string}} Edit  what the person did to an instance
 *
 * @typedef {{blob: Blob, id: string | null}} Sent  bytes for the server, and its name for them, once uploaded
 *
 * @typedef {Object} OpenImage
 * @property {string} name
 * @property {Blob} blob        the bytes that are sent
 * @property {ImageBitmap} bitmap
 * @property {number} width
 * @property {number} height
 * @property {string | null} id  the server's name for it, once uploaded
 * @property {string[]} phrases  what to try on a sample
 * @property {Sent[]} parts     by place, once asked about
 *
 * @typedef {{name: string, demo: boolean, image_size: number, parameters: number, dtype: string, version: string,
 *            vocabulary: string[] | null}} ModelInfo
 * @typedef {{name: string, url: string, phrases: string[]}} Sample
 * @typedef {{phase: 'uploading' | 'queued' | 'encoding' | 'decoding', fraction: number | null, position: number,
 *            part: [number, number], cancel: () => void}} Job
 * @typedef {{title: string, detail: string, hint: string, retry: (() => void) | null}} Notice
 * @typedef {'original' | 'overlay' | 'masks' | 'cutout'} Mode
 * @typedef {'pan' | 'plus' | 'minus'} Tool
 * @typedef {{thumb: string, image: OpenImage, prompts: Prompt[], result: ResultDocument, instances: Instance[],
 *            edits: Record<string, Edit>, threshold: number, refine: number, time: Date}} HistoryEntry
 */
export {};
