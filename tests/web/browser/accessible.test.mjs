/** axe finds nothing serious, in both themes, in each state of the page; with screenshots of the states. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { launch, openPage, serve, shot } from '../driver.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let browser, mock, url;
before(async () => {
  browser = await launch();
  ({ mock, url } = await serve());
});
after(async () => {
  await browser.close();
  await mock?.close();
});

async function check(page, state) {
  await page.waitForTimeout(350);
  await shot(page, state);
  await page.evaluate(() => scrollTo(0, 0)); // what is scrolled half under the image is not too small for that
  await page.evaluate(AXE); // as the debugger does: the page's own policy stays
  const { violations } = await page.evaluate(() =>
    // eslint-disable-next-line no-undef
    axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`);
  assert.deepEqual(bad, [], state);
}

for (const colorScheme of ['light', 'dark']) {
  for (const [size, options] of Object.entries({
    desktop: {}, phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
    chinese: { locale: 'zh-CN' },
  })) {
    test(`${size}, ${colorScheme}`, async () => {
      const { page, errors, context } = await openPage(browser, url, { colorScheme, ...options });
      const name = (state) => `${size}-${colorScheme}-${state}`;
      await check(page, name('welcome'));
      await page.locator('.sample').first().click();
      for (let i = 0; i < 2; i++) await page.locator('#suggestion-list .word').first().click(); // it leaves the list
      await page.locator('#add-box').click();
      await page.locator('#run').click();
      await page.locator('.instance').first().waitFor();
      await page.locator('.instance-name').first().click();
      const stage = await page.locator('#stage').boundingBox();
      await page.mouse.click(stage.x + stage.width * 0.27, stage.y + stage.height * 0.35);
      await check(page, name('results'));
      await page.locator('#devices-button').click();
      await page.locator('.device').first().waitFor();
      await check(page, name('devices'));
      await page.locator('#history-button').click();
      await check(page, name('history'));
      await page.locator('#drawer-close').click();
      await page.locator('#download-button').click();
      await check(page, name('download'));
      await page.keyboard.press('Escape');
      await page.locator('#help-button').click();
      await check(page, name('help'));
      await page.keyboard.press('Escape');
      await page.locator('#file').setInputFiles({ name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('x') });
      await page.locator('#notice:visible').waitFor();
      await check(page, name('error'));
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'scrolls sideways');
      assert.deepEqual(errors, []);
      await context.close();
    });
  }
}
