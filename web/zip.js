/** A ZIP archive of files as they are ("stored"): PNG does not shrink further. */
import { crc32 } from './crc32.js';

const LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50;
const UTF8_NAMES = 1 << 11;
const VERSION = 20;

/** @param {Date} date in the form of MS-DOS @returns {[number, number]} time, date */
const dosTime = (date) => [
  (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1),
  ((Math.max(date.getFullYear(), 1980) - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate(),
];

/** @param {number} size @param {[2 | 4, number][]} fields little-endian: bytes, value @param {Uint8Array[]} tail */
function record(size, fields, ...tail) {
  const bytes = new Uint8Array(size + tail.reduce((sum, t) => sum + t.length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  for (const t of tail) {
    bytes.set(t, at);
    at += t.length;
  }
  return bytes;
}

/**
 * @param {{name: string, data: Uint8Array}[]} files
 * @param {Date} [date] of all files
 * @returns {Blob}
 */
export function zipStored(files, date = new Date()) {
  const [time, day] = dosTime(date);
  if (files.length > 0xffff) throw new Error(`a ZIP of ${files.length} files: the most are 65535`);
  const locals = [];
  const centrals = [];
  let offset = 0;
  for (const { name, data } of files) {
    const encoded = new TextEncoder().encode(name);
    /** @type {[2 | 4, number][]} */
    const common = [
      [2, VERSION], [2, UTF8_NAMES], [2, 0], [2, time], [2, day], [4, crc32(data)], [4, data.length], [4, data.length],
      [2, encoded.length], [2, 0],
    ];
    const local = record(30, [[4, LOCAL], ...common], encoded);
    centrals.push(record(46, [[4, CENTRAL], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]], encoded));
    locals.push(local, data);
    offset += local.length + data.length;
    if (offset > 0xffffffff) throw new Error('a ZIP of more than 4 GiB');
  }
  const directory = centrals.reduce((sum, c) => sum + c.length, 0);
  const end = record(22, [[4, END], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, directory], [4, offset], [2, 0]]);
  return new Blob(/** @type {BlobPart[]} */ ([...locals, ...centrals, end]), { type: 'application/zip' });
}
