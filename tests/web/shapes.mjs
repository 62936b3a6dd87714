/**
 * Test images: shapes on a plain ground, as PNG, with what is true of them. The list of shapes travels in a text chunk
 * of the PNG, so that the mock server knows an image when it gets one.
 */
import { deflateSync, inflateSync } from 'node:zlib';
import { crc32 } from '../../web/crc32.js';

export const SAMPLE_PHRASES = ['circle', 'red circle', 'square', 'green triangle'];
const COLOURS = { red: [214, 48, 49], blue: [41, 98, 255], green: [0, 150, 90], yellow: [250, 190, 20] };

/** Whether pixel x, y is of the shape. */
export function covers({ kind, x, y, r }, px, py) {
  const dx = px + 0.5 - x;
  const dy = py + 0.5 - y;
  if (kind === 'circle') return dx * dx + dy * dy < r * r;
  if (kind === 'square') return Math.abs(dx) < r && Math.abs(dy) < r;
  return dy < r && dy > -r && Math.abs(dx) < (dy + r) / 2; // triangle
}

/** COCO's compressed run lengths of a shape, with area and box. */
export function encodeRle(shape, width, height) {
  const counts = [];
  let run = 0;
  let value = false;
  let area = 0;
  for (let x = 0; x < width; x++) {
    if (Math.abs(x + 0.5 - shape.x) >= shape.r) { // nothing of it in this column
      if (value) counts.push(run);
      run = (value ? 0 : run) + height;
      value = false;
      continue;
    }
    for (let y = 0; y < height; y++) {
      const now = covers(shape, x, y);
      if (now !== value) {
        counts.push(run);
        run = 0;
        value = now;
      }
      run++;
      if (now) area++;
    }
  }
  counts.push(run);
  let text = '';
  counts.forEach((count, i) => {
    let v = count - (i > 2 ? counts[i - 2] : 0);
    for (let more = true; more; ) {
      const bits = v & 31;
      v >>= 5;
      more = bits & 16 ? v !== -1 : v !== 0;
      text += String.fromCharCode(48 + (bits | (more ? 32 : 0)));
    }
  });
  const { x, y, r } = shape;
  const half = shape.kind === 'triangle' ? r : r;
  return { box: [x - half, y - r, x + half, y + r], area, mask: { size: [height, width], counts: text } };
}

function chunk(type, data) {
  const head = Buffer.from(type, 'latin1');
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length);
  head.copy(out, 4);
  data.copy(out, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length);
  return out;
}

export function encodePng(width, height, shapes) {
  const rows = Buffer.alloc((width * 3 + 1) * height);
  for (let y = 0; y < height; y++) {
    const near = shapes.filter((shape) => Math.abs(y + 0.5 - shape.y) < shape.r);
    for (let x = 0; x < width; x++) {
      const hit = near.findLast((shape) => covers(shape, x, y));
      const rgb = hit ? COLOURS[hit.colour] : [236 - (y * 30) / height, 228 - (x * 20) / width, 214];
      rows.set(rgb, y * (width * 3 + 1) + 1 + x * 3);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', header),
    chunk('tEXt', Buffer.from(`shapes\0${JSON.stringify({ width, height, shapes })}`, 'latin1')),
    chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

/** The list of shapes in a PNG made here; an empty one of any other image; null when the bytes are no image. */
export function decodePng(bytes) {
  if (bytes.subarray(1, 4).toString('latin1') !== 'PNG') {
    return bytes[0] === 0xff && bytes[1] === 0xd8 ? { width: 640, height: 480, shapes: [] } : null;
  }
  const at = bytes.indexOf('tEXtshapes\0', 0, 'latin1');
  if (at < 0) return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20), shapes: [] };
  const length = bytes.readUInt32BE(at - 4);
  return JSON.parse(bytes.subarray(at + 11, at + 4 + length).toString('latin1'));
}

/** Pixels of an 8-bit PNG without filters beyond none, sub, up, average and Paeth, for tests of downloads. */
export function readPng(bytes) {
  const width = bytes.readUInt32BE(16);
  const height = bytes.readUInt32BE(20);
  const channels = { 0: 1, 2: 3, 6: 4 }[bytes[25]];
  const data = [];
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    if (bytes.toString('latin1', at + 4, at + 8) === 'IDAT') data.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const raw = inflateSync(Buffer.concat(data));
  const stride = width * channels;
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    for (let i = 0; i < stride; i++) {
      const a = i >= channels ? pixels[y * stride + i - channels] : 0;
      const b = y ? pixels[(y - 1) * stride + i] : 0;
      const c = y && i >= channels ? pixels[(y - 1) * stride + i - channels] : 0;
      const p = a + b - c;
      const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
      const guess = [0, a, b, (a + b) >> 1, pa <= pb && pa <= pc ? a : pb <= pc ? b : c][filter];
      pixels[y * stride + i] = raw[y * (stride + 1) + 1 + i] + guess;
    }
  }
  return { width, height, channels, pixels };
}

/** Three circles, three squares, two triangles; one pair overlaps; some are uncertain. */
export function paintSample(width, height) {
  const u = width / 640;
  const shape = (kind, colour, x, y, r, score) => ({ kind, colour, x: x * u, y: y * u, r: r * u, score });
  const shapes = [
    shape('circle', 'red', 120, 120, 62, 0.94), shape('circle', 'blue', 300, 110, 50, 0.91),
    shape('circle', 'red', 540, 360, 58, 0.42), shape('square', 'yellow', 480, 120, 60, 0.88),
    shape('square', 'blue', 220, 330, 70, 0.85), shape('square', 'green', 280, 380, 60, 0.63),
    shape('triangle', 'green', 90, 360, 56, 0.9), shape('triangle', 'yellow', 420, 320, 50, 0.22),
  ];
  return { width, height, shapes, png: encodePng(width, height, shapes) };
}
