/** The device panel: what every device does, asked every two seconds while the panel is open. */
import { $, h } from './dom.js';
import { t } from './i18n.js';

/**
 * @typedef {{device: string, state: string, requests: number, restarts: number, cached: number, images: number,
 *            memory: number, weights: number, busy: number, age: number}} Worker
 * @typedef {{parallel: string, schedule: string, queued: number, running: number, done: number, rejected: number,
 *            workers: Worker[]}} Devices
 */

const EVERY = 2000;

/**
 * The share of the time since the last look in which the device was busy; since its start at the first look.
 * @param {Worker} now
 * @param {Worker | undefined} before
 */
export function busyShare(now, before) {
  const restarted = !before || before.age > now.age;
  const busy = now.busy - (restarted ? 0 : before.busy);
  const age = now.age - (restarted ? 0 : before.age);
  return age > 0 ? Math.min(Math.max(busy / age, 0), 1) : 0;
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes.toFixed(bytes < 10 && unit > 0 ? 1 : 0)} ${units[unit]}`;
}

export class DevicePanel {
  /** @type {Map<number, Worker>} by place */ #before = new Map();
  #timer = 0;

  /** @param {import('./api.js').Api} api @param {import('./drawer.js').Drawer} drawer @param {(error: unknown) => void} failed */
  constructor(api, drawer, failed) {
    this.api = api;
    this.failed = failed;
    drawer.add({
      button: $('#devices-button'), title: 'devices.title',
      open: (body) => this.#look(body), close: () => clearTimeout(this.#timer),
    });
  }

  /** @param {HTMLElement} body */
  async #look(body) {
    clearTimeout(this.#timer);
    const timer = window.setTimeout(() => {}, 0); // a name for this turn, to see whether another has begun
    this.#timer = timer;
    try {
      /** @type {Devices} */
      const devices = await this.api.json('/v1/devices');
      if (this.#timer !== timer || $('#drawer').hidden) return;
      body.replaceChildren(this.#render(devices));
      this.#before = new Map(devices.workers.entries());
    } catch (error) {
      if (this.#timer === timer) this.failed(error);
    }
    if (this.#timer === timer) this.#timer = window.setTimeout(() => this.#look(body), EVERY);
  }

  /** @param {Devices} devices */
  #render({ parallel, schedule, queued, running, done, rejected, workers }) {
    const figures = { 'devices.queue': queued, 'devices.running': running, 'devices.done': done, 'devices.rejected': rejected };
    return h('div', { class: 'devices' },
      h('dl', { class: 'figures' }, ...Object.entries(figures).map(([key, n]) =>
        h('div', {}, h('dt', { text: t(key) }), h('dd', { class: 'numbers', text: String(n ?? 0) })))),
      h('p', { class: 'quiet small', text: t('devices.how', { parallel, schedule }) }),
      workers.length ? null : h('p', { class: 'quiet', text: t('devices.none') }),
      ...workers.map((worker, i) => this.#device(worker, this.#before.get(i))));
  }

  /** @param {Worker} worker @param {Worker | undefined} before */
  #device(worker, before) {
    const share = busyShare(worker, before);
    const bar = h('i');
    bar.style.width = `${Math.round(share * 100)}%`;
    /** @type {[string, string][]} */
    const rows = [
      ['devices.memory', formatBytes(worker.memory)],
      ['devices.images', String(worker.cached)],
      ['devices.requests', String(worker.requests)],
    ];
    if (worker.restarts) rows.push(['devices.restarts', String(worker.restarts)]);
    return h('section', { class: 'device', 'aria-label': worker.device },
      h('div', { class: 'device-head' }, h('h3', { text: worker.device }),
        h('span', { class: `state ${worker.state}`, text: t(`devices.state.${worker.state}`) })),
      h('div', { class: 'meter' },
        h('div', { class: 'bar', role: 'meter', 'aria-label': t('devices.busy'), 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': Math.round(share * 100) }, bar),
        h('span', { class: 'numbers', text: `${t('devices.busy')} ${Math.round(share * 100)}%` })),
      h('dl', { class: 'rows' }, ...rows.map(([key, value]) =>
        h('div', {}, h('dt', { text: t(key) }), h('dd', { class: 'numbers', text: value })))));
  }
}
