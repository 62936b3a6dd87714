/**
 * The index map: for each pixel the number of the topmost instance, 0 where there is none. It is kept down the columns
 * as COCO's runs are, so that a run is one fill, and the texture made of it is the image turned over its diagonal.
 */
import { runsArea } from './rle.js';

/**
 * Paints instances in order, the last on top.
 * @param {number} pixels
 * @param {{index: number, runs: Uint32Array}[]} instances
 * @returns {{map: Uint16Array<ArrayBuffer>, overlaps: boolean}} overlaps: whether some pixel has several instances
 */
export function buildIndexMap(pixels, instances) {
  const map = new Uint16Array(pixels);
  let sum = 0;
  for (const { index, runs } of instances) {
    for (let i = 0; i < runs.length; i += 2) map.fill(index, runs[i], runs[i + 1]);
    sum += runsArea(runs);
  }
  let covered = 0;
  for (let i = 0; i < pixels; i++) if (map[i]) covered++;
  return { map, overlaps: covered !== sum };
}
