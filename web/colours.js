/**
 * Colours of instances, and the table that the viewer looks them up in.
 * @typedef {import('./store.js').State} State
 */
import { isVisible } from './regions.js';

/**
 * Hues a golden angle apart: neighbours in the list differ most. OKLCH, so that all look
 * equally bright.
 * @param {number} n from 0
 * @returns {[number, number, number]}
 */
export function instanceColour(n) {
  const hue = ((255 + n * 137.508) % 360) * (Math.PI / 180);
  const lightness = 0.72 - 0.08 * (Math.floor(n / 7) % 2);
  const a = 0.17 * Math.cos(hue);
  const b = 0.17 * Math.sin(hue);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  const srgb = linear.map((v) => {
    const c = Math.min(Math.max(v, 0), 1);
    return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
  });
  return [srgb[0], srgb[1], srgb[2]];
}

/** Entries a row of the table's texture. */
export const TABLE_WIDTH = 256;

/**
 * RGBA for each value of the index map; entry 0 and what is not visible have alpha 0. Opacity, hover and selection are
 * in the alpha: they cost a few bytes, not an image.
 * @param {State} state
 */
export function colourTable(state) {
  const rows = Math.ceil((state.instances.length + 1) / TABLE_WIDTH);
  const table = new Uint8Array(rows * TABLE_WIDTH * 4);
  for (const instance of state.instances) {
    if (!isVisible(instance, state)) continue;
    const lit = instance.uid === state.selected || instance.uid === state.hover;
    // Alpha 0 means "not there", so the lowest opacity is still 1.
    const alpha = Math.max(1, Math.round(255 * (lit ? Math.min(1, state.opacity + 0.25) : state.opacity)));
    table.set([...instance.colour, alpha], instance.index * 4);
  }
  return table;
}
