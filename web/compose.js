/**
 * The picture with its masks as pixels: for downloads, and for drawing where there is no WebGL2.
 * @typedef {import('./types.js').Mode} Mode
 */

/**
 * Whether another instance, or none, is `line` pixels away.
 * @param {Uint16Array} map
 * @param {number} at of the pixel x, y
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @param {number} line
 */
function isEdge(map, at, x, y, width, height, line) {
  const own = map[at];
  return (x >= line && map[at - line * height] !== own) || (x + line < width && map[at + line * height] !== own) ||
    (y >= line && map[at - line] !== own) || (y + line < height && map[at + line] !== own);
}

/**
 * RGBA of one band of rows, from the index map and the colour table.
 * @param {Uint8ClampedArray} pixels RGBA of the picture in these rows, changed in place; row y0 first
 * @param {Uint16Array} map of the whole image, down the columns
 * @param {Uint8Array} table
 * @param {number} width
 * @param {number} height of the whole image
 * @param {number} y0
 * @param {Mode} mode
 * @param {number} [line] how thick the outlines are; 0: none
 */
export function composeRows(pixels, map, table, width, height, y0, mode, line = 0) {
  const rows = pixels.length / 4 / width;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < width; x++) {
      const out = (y * width + x) * 4;
      const at = x * height + y0 + y;
      const entry = map[at] * 4;
      let alpha = table[entry + 3];
      if (line && alpha && mode === 'overlay' && isEdge(map, at, x, y0 + y, width, height, line)) alpha = 255;
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
 * @param {number} [line] how thick the outlines are; 0: none
 */
export async function compose(bitmap, map, table, mode, line = 0) {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  context.drawImage(bitmap, 0, 0);
  if (mode === 'original') return canvas;
  const blank = map ?? new Uint16Array(width * height);
  const rows = Math.max(1, Math.floor(SLICE_PIXELS / width));
  for (let y = 0; y < height; y += rows) {
    const image = context.getImageData(0, y, width, Math.min(rows, height - y));
    composeRows(image.data, blank, table, width, height, y, mode, line);
    context.putImageData(image, 0, y);
    await new Promise((resolve) => setTimeout(resolve));
  }
  return canvas;
}
