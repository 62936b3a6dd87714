/**
 * The picture with its masks as pixels: for downloads, and for drawing where there is no WebGL2.
 * @typedef {import('./types.js').Mode} Mode
 */

/**
 * RGBA of one band of rows, from the index map and the colour table.
 * @param {Uint8ClampedArray} pixels RGBA of the picture in these rows, changed in place; row y0 first
 * @param {Uint16Array} map of the whole image, down the columns
 * @param {Uint8Array} table
 * @param {number} width
 * @param {number} height of the whole image
 * @param {number} y0
 * @param {Mode} mode
 */
export function composeRows(pixels, map, table, width, height, y0, mode) {
  const rows = pixels.length / 4 / width;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < width; x++) {
      const out = (y * width + x) * 4;
      const entry = map[x * height + y0 + y] * 4;
      const alpha = table[entry + 3];
      if (mode === 'cutout') {
        if (!alpha) pixels.fill(0, out, out + 4);
      } else if (mode === 'masks') {
        for (let c = 0; c < 3; c++) pixels[out + c] = alpha ? table[entry + c] : 14 + c;
        pixels[out + 3] = 255;
      } else if (alpha) {
        for (let c = 0; c < 3; c++) pixels[out + c] += ((table[entry + c] - pixels[out + c]) * alpha) / 255;
      }
    }
  }
}

/** Rows a slice: the page stays awake in between. */
const SLICE_PIXELS = 1 << 20;

/**
 * The whole picture on a canvas of its own, in slices.
 * @param {ImageBitmap} bitmap
 * @param {Uint16Array | null} map
 * @param {Uint8Array} table
 * @param {Mode} mode
 */
export async function compose(bitmap, map, table, mode) {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  context.drawImage(bitmap, 0, 0);
  if (mode === 'original') return canvas;
  const blank = map ?? new Uint16Array(width * height);
  const rows = Math.max(1, Math.floor(SLICE_PIXELS / width));
  for (let y = 0; y < height; y += rows) {
    const image = context.getImageData(0, y, width, Math.min(rows, height - y));
    composeRows(image.data, blank, table, width, height, y, mode);
    context.putImageData(image, 0, y);
    await new Promise((resolve) => setTimeout(resolve));
  }
  return canvas;
}
