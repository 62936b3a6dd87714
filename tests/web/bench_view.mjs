/**
 * Frames a second of pan and zoom with many masks on a large image, in a browser that renders in software.
 *
 *   node tests/web/bench_view.mjs [--masks 300] [--width 4000] [--height 3000] [--seconds 4] [--viewer 2d|webgl2] [--unlimited]
 *
 * A frame is one that the stage has drawn: the browser starts none before those under way are nearly done, and shows at
 * most 60 a second unless --unlimited. Prints a JSON object. cpu_ms is the processor time that a frame took in each of
 * the browser's processes, which work side by side: the largest tells what the machine could do with nothing else on it.
 */
import assert from 'node:assert/strict';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { launch, openPage } from './driver.mjs';
import { MockServer } from './mock_server.mjs';
import { encodePng } from './shapes.mjs';

const { values } = parseArgs({ options: {
  masks: { type: 'string', default: '300' }, width: { type: 'string', default: '4000' }, height: { type: 'string', default: '3000' },
  seconds: { type: 'string', default: '4' }, viewer: { type: 'string', default: '' }, unlimited: { type: 'boolean', default: false },
} });
const [masks, width, height, seconds] = [values.masks, values.width, values.height, values.seconds].map(Number);

/** Shapes in a grid, each a little larger than its cell so that neighbours overlap. */
function grid() {
  const columns = Math.ceil(Math.sqrt((masks * width) / height));
  const cell = { x: width / columns, y: height / Math.ceil(masks / columns) };
  return Array.from({ length: masks }, (_, i) => ({
    kind: ['circle', 'square', 'triangle'][i % 3], colour: ['red', 'blue', 'green', 'yellow'][i % 4],
    x: (i % columns + 0.5) * cell.x, y: (Math.floor(i / columns) + 0.5) * cell.y, r: Math.min(cell.x, cell.y) * 0.55,
    score: 0.55 + (0.4 * i) / masks,
  }));
}

/** Moves the stage before every frame, as a hand or a wheel would. @returns the ms from each frame to the next */
function drive(page, kind) {
  return page.evaluate(([what, limit]) => new Promise((done) => {
    const stage = document.querySelector('#stage');
    const box = stage.getBoundingClientRect();
    const centre = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    stage.setPointerCapture = () => {}; // there is no such pointer
    const send = (type, x, y) => stage.dispatchEvent(new PointerEvent(type,
      { pointerId: 1, pointerType: 'mouse', button: 0, buttons: 1, bubbles: true, clientX: x, clientY: y }));
    const times = [];
    const begin = performance.now();
    if (what === 'pan') send('pointerdown', centre.x, centre.y);
    const step = (now) => {
      times.push(now);
      const n = times.length;
      if (now - begin > limit) {
        if (what === 'pan') send('pointerup', centre.x, centre.y);
        done(times.slice(1).map((t, i) => t - times[i]));
        return;
      }
      if (what === 'pan') send('pointermove', centre.x + 200 * Math.sin(n / 15), centre.y + 150 * Math.cos(n / 15));
      else stage.dispatchEvent(new WheelEvent('wheel',
        { deltaY: Math.floor(n / 40) % 2 ? 25 : -25, bubbles: true, cancelable: true, clientX: centre.x, clientY: centre.y }));
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }), [kind, seconds * 1000]);
}

/** Seconds of processor time that each kind of the browser's processes has used. */
async function processorTime() {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  const sum = {};
  for (const { type, cpuTime } of processInfo) sum[type] = (sum[type] ?? 0) + cpuTime;
  return sum;
}

/** Waits until masks are painted: the page then does nothing. */
async function settled() {
  const busy = async () => (await processorTime()).renderer;
  for (let last = -1, now = await busy(); now - last > 0.02; now = await busy()) {
    last = now;
    await page.waitForTimeout(1000);
  }
}

async function measure(kind) {
  const before = await processorTime();
  const gaps = await drive(page, kind);
  const after = await processorTime();
  const cpu = Object.entries(after).map(([type, s]) => [type, Math.round(((s - (before[type] ?? 0)) * 1e4) / gaps.length) / 10]);
  return { ...figures(gaps), cpu_ms: Object.fromEntries(cpu.filter(([, ms]) => ms > 0)) };
}

function figures(gaps) {
  const sorted = [...gaps].sort((a, b) => a - b);
  const round = (v) => Math.round(v * 10) / 10;
  return { fps: round(1000 / (gaps.reduce((a, b) => a + b) / gaps.length)), median_ms: round(sorted[gaps.length >> 1]),
    p95_ms: round(sorted[Math.floor(gaps.length * 0.95)]), frames: gaps.length };
}

const server = new MockServer();
const url = await server.listen();
const browser = await launch(values.unlimited ? ['--disable-gpu-vsync', '--disable-frame-rate-limit'] : []);
const session = await browser.newBrowserCDPSession();
const { page, errors } = await openPage(browser, url, { query: values.viewer && `?viewer=${values.viewer}` });
page.setDefaultTimeout(180_000);
const begin = Date.now();
await page.locator('#file').setInputFiles({ name: 'grid.png', mimeType: 'image/png', buffer: encodePng(width, height, grid()) });
await page.locator('#viewbar:visible').waitFor();
await page.locator('#phrase').fill('shape');
await page.locator('#phrase').press('Enter');
await page.locator('#run').click();
await page.waitForFunction((n) => document.querySelectorAll('.instance').length === n, masks);
await settled();
const zoom = () => page.locator('#zoom-level').textContent();
const report = { masks, megapixels: (width * height) / 1e6, stage: await page.locator('#stage').boundingBox(), ready_s: (Date.now() - begin) / 1000 };
report.renderer = await page.evaluate(() => {
  const gl = document.querySelector('#canvas').getContext('webgl2');
  return gl ? gl.getParameter(gl.getExtension('WEBGL_debug_renderer_info').UNMASKED_RENDERER_WEBGL) : 'Canvas2D';
});
report.cpu = `${cpus().length} × ${cpus()[0].model.trim()}`;
report.browser = browser.version();
report.pan = await measure('pan');
report.zoom = await measure('zoom');
await page.locator('#zoom-fit').click();
for (let i = 0; i < 8; i++) await page.locator('#zoom-in').click();
await settled();
report.pan_near = { at: await zoom(), ...await measure('pan') };
assert.deepEqual(errors, []);
console.log(JSON.stringify(report, null, 1));
await browser.close();
await server.close();
