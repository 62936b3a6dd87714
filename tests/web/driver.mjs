/** A browser and a server for the tests of the page. SAM3_URL: a running server instead of the mock. */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { MockServer } from './mock_server.mjs';

export const SHOTS = fileURLToPath(new URL('../../build/web-screenshots/', import.meta.url));
mkdirSync(SHOTS, { recursive: true });

/** @param more flags */
export async function launch(more = []) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
      '--enable-unsafe-swiftshader', ...more],
  });
}

/** @returns the mock and its address, or null and SAM3_URL */
export async function serve() {
  if (process.env.SAM3_URL) return { mock: null, url: process.env.SAM3_URL.replace(/\/$/, '') };
  const mock = new MockServer();
  return { mock, url: await mock.listen() };
}

/** A page whose errors fail the test: call the returned check at the end. */
export async function openPage(browser, url, { query = '', ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-GB', acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000); // of what fails; a busy machine takes its time
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) errors.push(message.text());
  });
  await page.goto(`${url}/${query}`);
  await page.locator('.sample').first().waitFor();
  return { page, errors, context };
}

export const shot = (page, name) => page.screenshot({ path: `${SHOTS}${name}.png` });
