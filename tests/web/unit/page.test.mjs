import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { tidyBox } from '../../../web/boxes.js';
import { instanceColour } from '../../../web/colours.js';
import { busyShare, formatBytes } from '../../../web/devices.js';
import { en, zh } from '../../../web/i18n.js';
import { splitPhrases } from '../../../web/prompt_edits.js';
import { EventParser } from '../../../web/sse.js';
import { Store } from '../../../web/store.js';
import { View } from '../../../web/view.js';

const WEB = new URL('../../../web/', import.meta.url);
const sources = readdirSync(WEB).map((name) => [name, readFileSync(new URL(name, WEB), 'utf8')]);

test('both languages have the same keys and the same values to fill in', () => {
  assert.deepEqual(Object.keys(zh).sort(), Object.keys(en).sort());
  const values = (text) => [...new Set(JSON.stringify(text).match(/\{\w+\}/g) ?? [])].sort();
  for (const key of Object.keys(en)) assert.deepEqual(values(zh[key]), values(en[key]), key);
});

test('every text that the page asks for is there, and every text is asked for', () => {
  const used = new Set();
  const families = [];
  for (const [name, text] of sources) {
    if (name === 'i18n.js') continue;
    for (const [, key] of text.matchAll(/data-t(?:-\w+)?="([^"]+)"/g)) used.add(key);
    for (const [, key] of text.matchAll(/['"`]([a-z]+(?:\.[\w-]+)+|undo|redo|close|language|nav|skip)['"`]/g)) used.add(key);
    for (const [, family] of text.matchAll(/`([a-z]+(?:\.\w+)*\.)\$\{/g)) families.push(family);
  }
  const asked = (key) => used.has(key) || families.some((family) => key.startsWith(family));
  assert.deepEqual(Object.keys(en).filter((key) => !asked(key)), []);
  for (const [, text] of sources) {
    for (const [, key] of text.matchAll(/data-t(?:-\w+)?="([^"]+)"|\bt\('([^']+)'/g)) if (key) assert.ok(en[key], key);
  }
});

test('nothing comes from elsewhere, nothing is inline', () => {
  for (const [name, text] of sources) {
    const urls = (text.match(/\bhttps?:\/\/[^\s'"`)]+/g) ?? []).filter((url) => !url.startsWith('http://www.w3.org/'));
    assert.deepEqual(urls, [], name);
  }
  const html = readFileSync(new URL('index.html', WEB), 'utf8');
  assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/);
});

test('files stay below 800 lines', () => {
  for (const [name, text] of sources) assert.ok(text.split('\n').length <= 800, name);
});

test('server-sent events in any pieces', () => {
  const stream = ': hello\r\nevent: queued\r\ndata: {"position": 1}\r\n\r\nevent: done\ndata: {"a":\ndata: 1}\n\ndata: x\n\nevent: empty\n\n';
  const expected = [{ event: 'queued', data: '{"position": 1}' }, { event: 'done', data: '{"a":\n1}' }, { event: 'message', data: 'x' }];
  for (let size = 1; size <= stream.length; size++) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.slice(at, at + size)));
    assert.deepEqual(events, expected, `pieces of ${size}`);
  }
});

test('undo and redo', () => {
  const store = new Store();
  const seen = [];
  store.on(['edits'], ({ edits }) => seen.push(edits));
  store.editInstance('0.0', { hidden: true });
  store.editInstance('0.0', { name: 'van' });
  assert.deepEqual(store.state.edits, { '0.0': { hidden: true, name: 'van' } });
  assert.ok(store.undo() && store.undo());
  assert.equal(store.undo(), false);
  assert.deepEqual(store.state.edits, {});
  assert.ok(store.redo());
  assert.deepEqual(store.state.edits, { '0.0': { hidden: true } });
  store.editInstance('0.1', { deleted: true });
  assert.equal(store.redo(), false);
  assert.equal(seen.length, 6);
});

test('the point under the pointer stays when zooming, and the image in sight', () => {
  const view = new View();
  [view.imageWidth, view.imageHeight] = [4000, 3000];
  view.resize(800, 600);
  const before = view.toImage(300, 200);
  view.zoom(3, 300, 200);
  const after = view.toImage(300, 200);
  assert.ok(Math.hypot(before[0] - after[0], before[1] - after[1]) < 1e-6);
  view.pan(1e6, -1e6);
  const [left] = view.toScreen(0, 0);
  const [, bottom] = view.toScreen(4000, 3000);
  assert.ok(left < 800 && bottom > 0);
});

test('phrases, boxes, figures, colours', () => {
  assert.deepEqual(splitPhrases(' red  car,dog，猫、 ,\n bird'), ['red car', 'dog', '猫', 'bird']);
  assert.deepEqual(tidyBox([50.4, -3, 10.2, 999], 40, 30), [10, 0, 40, 30]);
  assert.equal(tidyBox([5, 5, 5.2, 9], 40, 30), null);
  assert.equal(tidyBox([NaN, 0, 4, 4], 40, 30), null);
  assert.equal(busyShare({ busy: 6, age: 12 }, { busy: 5, age: 10 }), 0.5);
  assert.equal(busyShare({ busy: 1, age: 4 }, { busy: 5, age: 10 }), 0.25); // restarted
  assert.equal(busyShare({ busy: 0, age: 0 }), 0);
  assert.equal(formatBytes(412e6), '412 MB');
  assert.equal(new Set(Array.from({ length: 100 }, (_, i) => instanceColour(i).join())).size, 100);
});
