/** Every feature of the page by what a person does. With the mock server, or a true one in SAM3_URL. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { encodePng, paintSample, readPng } from '../shapes.mjs';
import { launch, openPage, serve, shot } from '../driver.mjs';

let browser, mock, url, page, errors, context;
before(async () => {
  browser = await launch();
  ({ mock, url } = await serve());
});
after(async () => {
  await browser.close();
  await mock?.close();
});
beforeEach(async () => {
  if (mock) Object.assign(mock, { key: null, delay: 30, requests: [] });
  ({ page, errors, context } = await openPage(browser, url));
});
afterEach(async () => {
  await context.close();
  assert.deepEqual(errors, []);
});

const mocked = { skip: process.env.SAM3_URL ? 'needs the mock server' : false };
const regions = () => page.locator('.instance');
const chips = () => page.locator('#chips .chip');

async function openSample() {
  await page.locator('.sample').first().click();
  await page.locator('#viewbar:visible').waitFor();
}
async function find(...phrases) {
  if (!(await page.locator('#viewbar').isVisible())) await openSample();
  if (phrases.length) {
    await page.locator('#phrase').fill(phrases.join(','));
    await page.locator('#phrase').press('Enter');
  }
  await page.locator('#run').click();
  await page.locator('.group').first().waitFor();
  await page.locator('#run:visible').waitFor();
}
/** What the canvas shows at a point of the sample, from a screenshot of the stage. */
async function pixel(x, y) {
  await page.waitForTimeout(250);
  const stage = await page.locator('#stage').boundingBox();
  const png = readPng(await page.screenshot({ clip: stage }));
  const [sx, sy] = await screen(x, y, stage);
  const at = (Math.round(sy - stage.y) * png.width + Math.round(sx - stage.x)) * png.channels;
  return [...png.pixels.subarray(at, at + 3)];
}
/** Where a point of the fitted 640 × 480 sample is on the screen. */
async function screen(x, y, stage) {
  stage ??= await page.locator('#stage').boundingBox();
  const height = (await page.locator('#viewbar').boundingBox()).y - stage.y; // what the bar does not cover
  const scale = Math.min((stage.width - 48) / 640, (height - 48) / 480, 8);
  return [stage.x + stage.width / 2 + (x - 320) * scale, stage.y + height / 2 + (y - 240) * scale];
}
async function drag(x0, y0, x1, y1) {
  await page.mouse.move(...(await screen(x0, y0)));
  await page.mouse.down();
  await page.mouse.move(...(await screen((x0 + x1) / 2, (y0 + y1) / 2)));
  await page.mouse.move(...(await screen(x1, y1)));
  await page.mouse.up();
}
const far = (a, b) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));
async function download(format) {
  await page.locator('#download-button').click();
  const [file] = await Promise.all([page.waitForEvent('download'), page.locator(`[data-format="${format}"]`).click()]);
  return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
}
const RED = [214, 48, 49];

describe('images', () => {
  test('file picker', async () => {
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.locator('#choose').click()]);
    await chooser.setFiles({ name: 'mine.png', mimeType: 'image/png', buffer: paintSample(320, 240).png });
    await page.locator('#viewbar:visible').waitFor();
    assert.equal(await page.title(), 'mine.png · sam3');
  });

  for (const way of ['drop', 'paste']) {
    test(way, async () => {
      const bytes = paintSample(320, 240).png.toString('base64');
      await page.evaluate(([kind, base64]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], 'x.png', { type: 'image/png' }));
        document.dispatchEvent(kind === 'drop'
          ? new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
          : new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
      }, [way, bytes]);
      await page.locator('#viewbar:visible').waitFor();
      assert.equal(await page.title(), 'x.png · sam3');
    });
  }

  test('camera', async () => {
    await page.locator('#camera-button').click();
    await page.waitForFunction(() => document.querySelector('#camera-video').videoWidth > 0);
    await page.locator('#camera-shot').click();
    await page.locator('#viewbar:visible').waitFor();
    assert.equal(await page.title(), 'camera.jpg · sam3');
  });

  test('a sample, with phrases to try', async () => {
    await openSample();
    await page.locator('#suggestion-list .word').first().click();
    assert.equal(await chips().count(), 1);
    await find();
    assert.ok((await regions().count()) > 0);
  });

  // Browsers differ in whether they turn a WebP or a PNG; the server does. What is sent must be what is seen.
  test('a WebP that says how it is to be turned is sent as it is seen', async () => {
    const results = await page.evaluate(async (turn) => {
      const { decodeImage } = await import('/web/source.js');
      const canvas = new OffscreenCanvas(40, 30);
      canvas.getContext('2d', { alpha: false }).fillRect(0, 0, 20, 30);
      const plain = await canvas.convertToBlob({ type: 'image/webp', quality: 1 });
      const bytes = new Uint8Array(await plain.arrayBuffer());
      const extended = bytes[15] === 0x58; // it begins with a chunk VP8X: the browser keeps a colour profile
      if (extended) bytes[20] |= 8;
      const parts = [extended ? [] : turn.head, bytes.subarray(12), turn.exif].map((part) => Uint8Array.from(part));
      const size = new Uint8Array(Uint32Array.of(4 + parts.reduce((n, { length }) => n + length, 0)).buffer);
      const turned = new Blob(['RIFF', size, 'WEBP', ...parts], { type: 'image/webp' });
      return Promise.all([plain, turned].map(async (blob) => {
        const { width, height, blob: sent } = await decodeImage(blob, 'a.webp', []);
        const server = sent.type === 'image/webp' ? { width, height }
          : await (await fetch('/v1/images', { method: 'POST', body: sent })).json();
        return { type: sent.type, same: server.width === width && server.height === height };
      }));
    }, {
      head: [...Buffer.from('VP8X'), 10, 0, 0, 0, 8, 0, 0, 0, 39, 0, 0, 29, 0, 0],
      exif: [...Buffer.from('EXIF'), 26, 0, 0, 0, ...Buffer.from('II*\0'), 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
    });
    assert.deepEqual(results, [{ type: 'image/webp', same: true }, { type: 'image/png', same: true }]);
  });

  test('what is no image is refused with what to do', async () => {
    await page.locator('#file').setInputFiles({ name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') });
    const notice = page.locator('#notice:visible');
    await notice.waitFor();
    assert.match(await notice.textContent(), /a\.txt.*JPEG, PNG or WebP/s);
  });
});

describe('prompts', () => {
  test('Enter, commas, Backspace, the cross', async () => {
    await page.locator('#phrase').fill('circle');
    await page.keyboard.press('Enter');
    await page.locator('#phrase').pressSequentially('square,dog，');
    assert.deepEqual(await page.locator('.chip-name').allTextContents(), ['circle', 'square', 'dog']);
    await page.keyboard.press('Backspace');
    await page.locator('.chip-remove').first().click();
    assert.deepEqual(await page.locator('.chip-name').allTextContents(), ['square']);
  });

  test('boxes by pointer, by numbers, changed and removed', mocked, async () => {
    await openSample();
    await page.keyboard.press('Escape');
    await page.locator('#tools [data-tool="plus"]').click();
    await drag(50, 50, 190, 190);
    assert.equal(await page.locator('.exemplar.plus').count(), 1);
    const numbers = await page.locator('.box-row input').evaluateAll((all) => all.map((i) => Number(i.value)));
    assert.ok(far(numbers, [50, 50, 190, 190]) <= 2, String(numbers));
    await page.locator('#run').click();
    await regions().first().waitFor();
    assert.equal(await regions().count(), 2); // the circles that are certain
    await page.locator('#tools [data-tool="minus"]').click();
    await drag(240, 50, 360, 170);
    await page.locator('#run').click();
    await page.waitForFunction(() => document.querySelectorAll('.instance').length === 1);
    await page.locator('.box-row .sign').nth(1).click();
    assert.equal(await page.locator('.exemplar.plus').count(), 2);
    await page.locator('.box-row .icon-button').first().click();
    await page.locator('#add-box').click();
    const field = page.locator('.box-row').last().locator('input').first();
    await field.fill('5000');
    await field.press('Enter');
    assert.equal(Number(await field.inputValue()), Number(await page.locator('.box-row').last().locator('input').nth(2).inputValue()) - 1);
  });

  test('boxes belong to the chosen phrase', async () => {
    await openSample();
    await page.locator('#phrase').fill('square');
    await page.keyboard.press('Enter');
    await page.locator('.chip-name').click();
    await page.locator('#add-box').click();
    assert.equal(await page.locator('.chip-name').textContent(), 'square +1');
  });

  test('the demo model: said, with words to click', mocked, async () => {
    await page.locator('#demo-words .word').first().click();
    assert.equal(await page.locator('.chip-name').textContent(), 'circle');
  });
});

describe('running', () => {
  test('progress, and regions by phrase', mocked, async () => {
    await openSample();
    await page.locator('#phrase').fill('circle, square');
    await page.evaluate(() => { // every word of it, however fast it comes
      window.said = [];
      const text = document.querySelector('#progress-text');
      new MutationObserver(() => window.said.push(text.textContent)).observe(text, { childList: true });
    });
    await page.keyboard.press('Control+Enter');
    await regions().first().waitFor();
    const said = await page.evaluate(() => window.said.join());
    assert.match(said, /Sending the image.*2 requests ahead.*1 request ahead.*Looking at the image.*Finding things/);
    assert.deepEqual(await page.locator('.group h3').allTextContents(), ['circle', 'square']);
    assert.deepEqual(await page.locator('.group .count').allTextContents(), ['2', '3']);
    await shot(page, 'results-light');
  });

  test('what a search tells of its progress leaves the list of regions alone', mocked, async () => {
    await find('circle');
    const row = await regions().first().elementHandle();
    await page.locator('#phrase').fill('slow');
    await page.locator('#phrase').press('Enter');
    await page.locator('#run').click();
    await page.locator('#cancel').click();
    await page.locator('#run:visible').waitFor();
    await page.waitForTimeout(100);
    assert.ok(await row.evaluate((element) => element.isConnected), 'a click that has begun would be lost');
    assert.equal(await page.locator('#undo').isDisabled(), false);
    await page.locator('#undo').click();
    assert.deepEqual(await page.locator('.chip-name').allTextContents(), ['circle']);
  });

  test('cancel', mocked, async () => {
    await openSample();
    await page.locator('#phrase').fill('slow');
    await page.keyboard.press('Enter');
    await page.locator('#run').click();
    await page.locator('#cancel').click();
    await page.locator('#run:visible').waitFor();
    await page.waitForTimeout(100);
    assert.ok(mock.requests.some((r) => r.startsWith('DELETE /v1/jobs/')));
    assert.equal(await page.locator('#notice').isVisible(), false);
  });

  test('one upload for many questions; sent again when the server has dropped it', mocked, async () => {
    const uploads = () => mock.requests.filter((r) => r === 'POST /v1/images').length;
    await find('circle');
    await find('square');
    assert.equal(uploads(), 1);
    mock.images.clear();
    await find('triangle');
    assert.equal(uploads(), 2);
    assert.equal(await page.locator('#notice').isVisible(), false);
  });

  test('the threshold answers without a request', async () => {
    await find(mock ? 'circle' : 'dog');
    const [few, asked] = [await regions().count(), mock?.requests.length];
    await page.locator('#threshold').fill('0.1');
    await page.waitForTimeout(150);
    const many = await regions().count();
    await page.locator('#threshold').fill('0.9');
    await page.waitForTimeout(150);
    const sure = await regions().count();
    assert.ok(sure <= few && few <= many && sure < many, `${sure} ${few} ${many}`);
    assert.equal(mock?.requests.length, asked);
  });

  test('refinement changes the masks without a request, and back', async () => {
    await find(mock ? 'circle, square' : 'tree, dog, cow');
    const asked = mock?.requests.length;
    const masks = async () => JSON.parse((await download('json')).bytes.toString()).results.flatMap(
      ({ detections }) => detections.map(({ mask, area }) => [mask.counts, area]));
    const before = await masks();
    await page.locator('#refine [data-level="3"]').click();
    await page.waitForTimeout(300);
    assert.equal(await page.locator('#refine [data-level="3"]').getAttribute('aria-checked'), 'true');
    const refined = await masks();
    assert.equal(refined.length, before.length);
    assert.notDeepEqual(refined, before);
    for (const [i, [, area]] of refined.entries()) assert.ok(Math.abs(area / before[i][1] - 1) < 0.2, `${before[i][1]} ${area}`);
    await page.locator('#refine [data-level="0"]').click();
    await page.waitForTimeout(300);
    assert.deepEqual(await masks(), before);
    assert.equal(mock?.requests.length, asked);
  });

  test('several scales: the image and its quarters, one result', async () => {
    await openSample();
    await page.locator('#scales').check();
    await find(mock ? 'circle, square' : 'tree, dog, cow');
    assert.ok(await regions().count() > 0);
    if (mock) assert.equal(mock.requests.filter((r) => r === 'POST /v1/images').length, 5);
    await page.locator('#run').click();
    await page.locator('#run:visible').waitFor();
    if (mock) assert.equal(mock.requests.filter((r) => r === 'POST /v1/images').length, 5);
  });

  test('errors say what to do, and retry works', mocked, async () => {
    await openSample();
    await page.locator('#phrase').fill('busy');
    await page.keyboard.press('Enter');
    await page.locator('#run').click();
    const notice = page.locator('#notice');
    await notice.getByText('64 requests are waiting').waitFor();
    assert.match(await notice.textContent(), /The server is busy.*Wait 2 seconds/s);
    await shot(page, 'error-light');
    await page.locator('.chip-remove').click();
    await page.locator('#phrase').fill('circle');
    await notice.getByText('Try again', { exact: true }).click();
    await regions().first().waitFor();
    for (const [phrase, text] of [['unknown', /glossary does not know/], ['broken', /died twice/]]) {
      await page.locator('#phrase').fill(phrase);
      await page.keyboard.press('Enter');
      await page.locator('#run').click();
      await notice.filter({ hasText: text }).waitFor();
      await notice.getByLabel('Dismiss').click();
      await page.locator('.chip-remove').last().click();
    }
    await context.setOffline(true);
    await page.locator('#run').click();
    await notice.getByText('does not answer').waitFor();
    await context.setOffline(false);
  });

  test('a key is asked for on 401, and a wrong one told', mocked, async () => {
    mock.key = 'secret';
    await openSample();
    await page.locator('#phrase').fill('circle');
    await page.keyboard.press('Enter');
    await page.locator('#run').click();
    await page.locator('#key-input').fill('wrong');
    await page.keyboard.press('Enter');
    await page.locator('#key-wrong:visible').waitFor();
    await page.locator('#key-input').fill('secret');
    await page.keyboard.press('Enter');
    await regions().first().waitFor();
  });

  test('Chinese phrases show what they were taken for', mocked, async () => {
    await find('红色圆');
    assert.match(await page.locator('.group h3').first().textContent(), /红色圆 → red circle/);
  });
});

describe('regions', () => {
  test('masks are drawn where they are', mocked, async () => {
    await openSample();
    assert.ok(far(await pixel(120, 120), RED) < 6);
    await find('red circle');
    const tinted = await pixel(120, 120);
    assert.ok(far(tinted, RED) > 30, String(tinted));
    assert.ok(far(await pixel(540, 360), RED) < 6); // below the threshold
    await page.locator('#opacity').fill('0');
    assert.ok(far(await pixel(120, 120), RED) < 6);
  });

  test('what lies under a hidden region appears', mocked, async () => {
    await find('square');
    const both = await pixel(250, 350);
    const under = await pixel(320, 420);
    await page.getByLabel('Hide square').nth(1).click(); // the more certain of the two that overlap
    const swapped = await pixel(250, 350);
    assert.ok(far(both, swapped) > 10);
    assert.ok(far(swapped, under) < 6, `${swapped} ${under}`); // both green, tinted alike
  });

  test('hover and click tell label and confidence; a second click goes on to what lies under', mocked, async () => {
    await find('square');
    await page.mouse.move(...(await screen(480, 120)));
    const popover = page.locator('#popover:visible');
    await popover.waitFor();
    assert.match(await popover.textContent(), /square0\.88/);
    await page.mouse.click(...(await screen(250, 350)));
    assert.match(await popover.textContent(), /square0\.85.*Area.*1 more region/s);
    assert.equal(await page.locator('.instance.selected .score').textContent(), '0.85');
    await page.mouse.click(...(await screen(250, 350)));
    assert.match(await popover.textContent(), /0\.63/);
    await page.mouse.click(...(await screen(600, 40)));
    assert.equal(await page.locator('#popover').isVisible(), false);
  });

  test('hide, show, isolate, rename, delete, undo, redo', async () => {
    await find(mock ? 'circle, square' : 'tree, dog, cow');
    const first = regions().first();
    const n = await regions().count();
    await first.hover();
    await first.locator('.row-actions button').nth(0).click();
    await page.waitForFunction(() => document.querySelectorAll('.instance.off').length === 1);
    await page.locator('#undo').click();
    await page.waitForFunction(() => !document.querySelector('.instance.off'));
    await first.hover();
    await first.locator('.row-actions button').nth(1).click();
    await page.waitForFunction((rest) => document.querySelectorAll('.instance.off').length === rest, n - 1);
    await page.locator('#undo').click();
    await page.waitForFunction(() => !document.querySelector('.instance.off'));
    await first.hover();
    await first.locator('.row-actions button').nth(2).click();
    await page.locator('input.rename').fill('my thing');
    await page.keyboard.press('Enter');
    assert.equal(await first.locator('.name').textContent(), 'my thing');
    await first.hover();
    await first.locator('.row-actions button').nth(3).click();
    await page.waitForFunction((rest) => document.querySelectorAll('.instance').length === rest, n - 1);
    await page.keyboard.press('Control+z');
    await page.waitForFunction((all) => document.querySelectorAll('.instance').length === all, n);
    assert.equal(await first.locator('.name').textContent(), 'my thing');
    await page.keyboard.press('Control+Shift+Z');
    await page.waitForFunction((rest) => document.querySelectorAll('.instance').length === rest, n - 1);
    await page.locator('#hide-all').click();
    await page.waitForFunction((rest) => document.querySelectorAll('.instance.off').length === rest, n - 1);
    await page.locator('#show-all').click();
    await page.waitForFunction(() => !document.querySelector('.instance.off'));
  });

  test('keys: step, hide, isolate, rename, delete, threshold, tools, views, help', async () => {
    await find(mock ? 'square' : 'tree, dog, cow');
    await page.locator('#stage').focus();
    await page.keyboard.press('j');
    assert.equal(await page.locator('.instance.selected').count(), 1);
    await page.keyboard.press('h');
    await page.waitForFunction(() => document.querySelectorAll('.instance.off').length === 1);
    await page.keyboard.press('h');
    await page.keyboard.press('r');
    await page.keyboard.type('tile');
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('.instance.selected .name').textContent(), 'tile');
    await page.locator('#stage').focus();
    await page.keyboard.press('[');
    assert.equal(await page.locator('#threshold-value').textContent(), '0.45');
    await page.keyboard.press('b');
    assert.equal(await page.locator('#tools [data-tool="plus"]').getAttribute('aria-checked'), 'true');
    await page.keyboard.press('4');
    assert.equal(await page.locator('#modes [data-mode="cutout"]').getAttribute('aria-checked'), 'true');
    await page.keyboard.down('c');
    assert.equal(await page.locator('#modes [data-mode="original"]').getAttribute('aria-checked'), 'true');
    await page.keyboard.up('c');
    assert.equal(await page.locator('#modes [data-mode="cutout"]').getAttribute('aria-checked'), 'true');
    const n = await regions().count();
    await page.keyboard.press('Delete');
    await page.waitForFunction((rest) => document.querySelectorAll('.instance').length === rest, n - 1);
    await page.keyboard.press('?');
    await page.locator('#help:visible').waitFor();
    await page.waitForTimeout(100);
    await shot(page, 'help-light');
  });
});

describe('views', () => {
  for (const [name, query] of [['WebGL2', '?viewer=webgl2'], ['Canvas2D', '?viewer=2d'], ['tiles', '?viewer=webgl2&tile=200']]) {
    test(`original, overlay, masks, cut-out: ${name}`, mocked, async () => {
      await context.close();
      ({ page, errors, context } = await openPage(browser, url, { query }));
      assert.equal(await page.evaluate(() => !document.querySelector('#canvas').getContext('webgl2')), name === 'Canvas2D');
      await find('red circle');
      const mode = (m) => page.locator(`#modes [data-mode="${m}"]`).click();
      await page.waitForTimeout(300);
      const overlay = await pixel(120, 120);
      assert.ok(far(overlay, RED) > 30, String(overlay));
      await mode('original');
      assert.ok(far(await pixel(120, 120), RED) < 6);
      await mode('masks');
      await page.waitForTimeout(300);
      assert.ok(Math.max(...(await pixel(300, 110))) < 40);
      assert.ok(Math.max(...(await pixel(120, 120))) > 90);
      await mode('cutout');
      await page.waitForTimeout(300);
      assert.ok(far(await pixel(120, 120), RED) < 6);
      const blue = await pixel(300, 110); // cut away
      assert.ok(far(blue, [41, 98, 255]) > 60, String(blue));
    });
  }

  test('zoom and pan: buttons, wheel, drag, keys, fit', async () => {
    await openSample();
    const level = async () => parseInt(await page.locator('#zoom-level').textContent(), 10);
    const fitted = await level();
    await page.locator('#zoom-in').click();
    assert.ok((await level()) > fitted);
    await page.locator('#zoom-out').click();
    await page.mouse.move(...(await screen(320, 240)));
    await page.mouse.wheel(0, -400);
    await page.waitForFunction((old) => parseInt(document.querySelector('#zoom-level').textContent, 10) > old * 1.5, fitted);
    await page.locator('#zoom-fit').click();
    assert.equal(await level(), fitted);
    const before = await pixel(30, 120);
    await drag(320, 240, 260, 240);
    const dragged = await pixel(30, 120);
    assert.ok(far(before, dragged) > 5);
    await page.locator('#stage').focus();
    for (const key of ['ArrowLeft', '+', '+', '0']) await page.keyboard.press(key);
    assert.equal(await level(), fitted);
    assert.ok(far(await pixel(30, 120), before) < 3);
  });

  test('pinch', async () => {
    await openSample();
    const fitted = parseInt(await page.locator('#zoom-level').textContent(), 10);
    await page.evaluate(() => {
      const stage = document.querySelector('#stage');
      stage.setPointerCapture = () => {};
      const box = stage.getBoundingClientRect();
      const send = (type, id, x) => stage.dispatchEvent(new PointerEvent(type, { pointerId: id, pointerType: 'touch', button: 0, bubbles: true,
        clientX: box.x + box.width / 2 + x, clientY: box.y + box.height / 2 }));
      send('pointerdown', 1, -50);
      send('pointerdown', 2, 50);
      send('pointermove', 1, -100);
      send('pointermove', 2, 100);
      send('pointerup', 1, -100);
      send('pointerup', 2, 100);
    });
    const now = parseInt(await page.locator('#zoom-level').textContent(), 10);
    assert.ok(Math.abs(now / fitted - 2) < 0.05, `${fitted} ${now}`);
  });
});

describe('layout', () => {
  for (const [width, height] of [[320, 512], [390, 844], [667, 375], [820, 1180], [1024, 640], [2560, 1300]]) {
    test(`${width} × ${height}: nothing is cut off`, async () => {
      await page.setViewportSize({ width, height });
      await openSample();
      await page.locator('#phrase').fill('a very long phrase about something that nobody would ever ask for in one go, but somebody does');
      await page.locator('#phrase').press('Enter');
      await find(mock ? 'circle' : 'dog');
      await shot(page, `layout-${width}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'scrolls sideways');
      const cut = await page.locator('.topbar button, #viewbar *, .instance .score, .group-head, .row-actions, #run').evaluateAll((all) =>
        all.map((element) => [element.id || element.className, element.getBoundingClientRect()])
          .filter(([, { left, right, width: own }]) => own && (left < 0 || right > innerWidth)).map(([name]) => name));
      assert.deepEqual(cut, []);
      const bar = await page.locator('#viewbar').boundingBox();
      const { x, y, width: w, height: h } = await page.locator('#stage').boundingBox();
      assert.ok(bar.x >= x && bar.x + bar.width <= x + w && bar.y + bar.height <= y + h, 'the bar leaves the stage');
      const [, foot] = await screen(320, 480);
      assert.ok(foot <= bar.y, 'the bar covers the image');
    });
  }
});

describe('downloads', () => {
  test('JSON, COCO, YOLO, Labelme hold what is shown', mocked, async () => {
    await find('circle, square');
    await regions().nth(0).locator('.instance-name').click();
    await page.keyboard.press('h');
    await page.waitForFunction(() => document.querySelectorAll('.instance.off').length === 1);
    const json = await download('json');
    assert.equal(json.name, 'shapes.json');
    const document = JSON.parse(json.bytes);
    assert.deepEqual(document.results.map(({ detections }) => detections.map(({ id, score }) => [id, score])),
      [[[0, 0.91]], [[0, 0.88], [1, 0.85], [2, 0.63]]]);
    assert.equal(JSON.parse((await download('coco')).bytes).annotations.length, 4);
    assert.equal(JSON.parse((await download('labelme')).bytes).shapes.length, 4);
    const yolo = await download('yolo');
    assert.equal(yolo.name, 'shapes.yolo.zip');
    assert.match(yolo.bytes.toString('latin1'), /classes\.txtcircle\nsquare\n/);
  });

  test('PNG masks, overlay, cut-out', mocked, async () => {
    await find('red circle');
    const zip = await download('masks');
    const start = zip.bytes.indexOf('\x89PNG', 0, 'latin1');
    const mask = readPng(zip.bytes.subarray(start, zip.bytes.readUInt32LE(18) + start));
    assert.deepEqual([mask.width, mask.height, mask.channels], [640, 480, 1]);
    assert.deepEqual([mask.pixels[120 * 640 + 120], mask.pixels[110 * 640 + 300]], [255, 0]);
    const cutout = readPng((await download('cutout')).bytes);
    const rgba = (x, y) => [...cutout.pixels.subarray((y * 640 + x) * 4, (y * 640 + x) * 4 + 4)];
    assert.deepEqual(rgba(120, 120), [...RED, 255]);
    assert.equal(rgba(300, 110)[3], 0);
    const overlay = readPng((await download('overlay')).bytes);
    const at = (120 * 640 + 120) * overlay.channels;
    assert.ok(far([...overlay.pixels.subarray(at, at + 3)], RED) > 30);
  });
});

describe('around it', () => {
  test('devices, asked every two seconds while open', async () => {
    await page.locator('#devices-button').click();
    await page.locator('.device').first().waitFor();
    await page.locator('.device [role="meter"]').first().waitFor();
    if (mock) {
      assert.match(await page.locator('.device').first().textContent(), /cpu:0busyBusy 82%Memory412 MB/);
      const asked = () => mock.requests.filter((r) => r === 'GET /v1/devices').length;
      await page.waitForTimeout(2400);
      assert.equal(asked(), 2);
      await page.keyboard.press('Escape');
      await page.waitForTimeout(2400);
      assert.equal(asked(), 2);
    }
  });

  test('history brings back image, prompts, regions and their names without a request', mocked, async () => {
    await find('circle');
    await page.getByLabel('Rename circle').first().evaluate((button) => button.click());
    await page.locator('input.rename').fill('moon');
    await page.keyboard.press('Enter');
    await page.locator('#file').setInputFiles({ name: 'b.png', mimeType: 'image/png', buffer: encodePng(80, 60, [{ kind: 'square', colour: 'blue', x: 40, y: 30, r: 20, score: 0.9 }]) });
    await page.waitForFunction(() => document.title === 'b.png · sam3');
    await page.locator('.chip-remove').click();
    await find('square');
    assert.equal(await regions().count(), 1);
    const asked = mock.requests.length;
    await page.locator('#history-button').click();
    await page.locator('.history-entry img').nth(1).waitFor();
    await page.locator('.history-entry').nth(1).click();
    await page.waitForFunction(() => document.querySelectorAll('.instance').length === 2);
    assert.equal(await page.title(), 'shapes.png · sam3');
    assert.deepEqual(await page.locator('.chip-name').allTextContents(), ['circle']);
    assert.deepEqual(await page.locator('.instance .name').allTextContents(), ['moon', 'circle']);
    await page.keyboard.press('Escape');
    assert.ok(far(await pixel(120, 120), RED) > 30);
    assert.deepEqual(mock.requests.slice(asked).filter((r) => r.includes('/v1/')), []);
  });

  test('language and theme are switched and kept', async () => {
    await page.locator('#language-button').click();
    assert.equal(await page.locator('#prompt-title').textContent(), '要找什么');
    assert.equal(await page.locator('html').getAttribute('lang'), 'zh-Hans');
    await page.locator('#theme-button').click();
    await page.locator('#theme-button').click();
    await page.reload();
    assert.equal(await page.locator('#prompt-title').textContent(), '要找什么');
    assert.equal(await page.locator('html').getAttribute('data-theme'), 'dark');
  });
});
