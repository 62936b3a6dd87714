/**
 * The server's HTTP interface. Every failure is an ApiError with the problem that the server told.
 * @typedef {import('./types.js').Prompt} Prompt
 * @typedef {import('./types.js').ResultDocument} ResultDocument
 */
import { readEvents } from './sse.js';

const KEY = 'sam3-api-key';

export class ApiError extends Error {
  /**
   * @param {string} name  of the problem: "queue-full"; "offline" when no answer came
   * @param {number} status
   * @param {string} title
   * @param {string} detail
   * @param {number} retryAfter seconds; 0: not told
   */
  constructor(name, status, title, detail, retryAfter = 0) {
    super(detail || title);
    this.name = name;
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.retryAfter = retryAfter;
  }
}

/** @param {any} problem @param {number} status @param {number} [retryAfter] */
export function problemError(problem, status, retryAfter = 0) {
  const name = String(problem?.type ?? '').split('/').pop() || 'internal';
  return new ApiError(name, problem?.status ?? status, problem?.title ?? '', problem?.detail ?? '', retryAfter);
}

/** @param {Response} response */
async function responseError(response) {
  const retryAfter = Number(response.headers.get('Retry-After')) || 0;
  const problem = await response.json().catch(() => null);
  if (problem) return problemError(problem, response.status, retryAfter);
  const names = /** @type {Record<number, string>} */ ({
    400: 'bad-request', 401: 'unauthorized', 404: 'not-found', 408: 'timeout', 413: 'too-large',
    415: 'unsupported-media', 422: 'unprocessable', 429: 'queue-full', 503: 'unavailable',
  });
  return new ApiError(names[response.status] ?? 'internal', response.status, response.statusText, '', retryAfter);
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Api {
  /** @param {() => Promise<string | null>} askKey called on 401: the key to try, or null to give up */
  constructor(askKey) {
    this.askKey = askKey;
    this.key = sessionStorage.getItem(KEY);
  }

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   * @returns {Promise<Response>} of a request that succeeded
   */
  async request(path, init = {}) {
    for (;;) {
      const sent = this.key;
      const headers = new Headers(init.headers);
      if (sent) headers.set('Authorization', `Bearer ${sent}`);
      /** @type {Response} */
      let response;
      try {
        response = await fetch(path, { ...init, headers });
      } catch (error) {
        if (/** @type {Error} */ (error).name === 'AbortError') throw error;
        throw new ApiError('offline', 0, '', '');
      }
      if (response.ok) return response;
      if (response.status !== 401) throw await responseError(response);
      if (this.key !== sent) continue; // another request has asked meanwhile
      const key = await this.askKey();
      if (key === null) throw await responseError(response);
      this.key = key;
      sessionStorage.setItem(KEY, key);
    }
  }

  /** @param {string} path @param {RequestInit} [init] */
  async json(path, init) {
    return (await this.request(path, init)).json();
  }

  /** @param {string} path @param {unknown} body @param {RequestInit} init */
  post(path, body, init) {
    const headers = new Headers(init.headers);
    headers.set('Content-Type', 'application/json');
    return this.json(path, { ...init, method: 'POST', headers, body: JSON.stringify(body) });
  }

  /**
   * @param {Blob} blob
   * @param {AbortSignal} signal
   * @returns {Promise<{id: string, width: number, height: number}>}
   */
  upload(blob, signal) {
    return this.json('/v1/images', {
      method: 'POST', body: blob, headers: { 'Content-Type': blob.type || 'application/octet-stream' }, signal,
    });
  }

  /**
   * Asks for a segmentation and follows it to its end.
   * @param {string} id of the image
   * @param {Prompt[]} prompts
   * @param {number} threshold
   * @param {(event: 'queued' | 'encoding' | 'decoding', data: {position?: number, fraction?: number}) => void} progress
   * @param {AbortSignal} signal cancels it on the server as well
   * @returns {Promise<ResultDocument>}
   */
  async segment(id, prompts, threshold, progress, signal) {
    const job = await this.post(`/v1/images/${encodeURIComponent(id)}/segment`, { prompts, threshold },
      { headers: { Prefer: 'respond-async' }, signal });
    const cancel = () => {
      this.request(job.url, { method: 'DELETE' }).catch(() => {}); // it may have ended meanwhile
    };
    signal.addEventListener('abort', cancel, { once: true });
    try {
      return (await this.#follow(job.events, progress, signal)) ?? (await this.#poll(job.url, progress, signal));
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /**
   * @param {string} url
   * @param {Function} progress
   * @param {AbortSignal} signal
   * @returns {Promise<ResultDocument | null>} null when the stream broke off before the end
   */
  async #follow(url, progress, signal) {
    try {
      const response = await this.request(url, { headers: { Accept: 'text/event-stream' }, signal });
      if (!response.body) return null;
      for await (const { event, data } of readEvents(response.body)) {
        if (event === 'done') return JSON.parse(data);
        if (event === 'failed') throw problemError(JSON.parse(data), 500);
        if (event === 'cancelled') throw new DOMException('cancelled', 'AbortError');
        progress(event, JSON.parse(data || '{}'));
      }
    } catch (error) {
      if (error instanceof ApiError && error.name !== 'offline') throw error;
      if (/** @type {Error} */ (error).name === 'AbortError') throw error;
    }
    return null;
  }

  /**
   * @param {string} url
   * @param {Function} progress
   * @param {AbortSignal} signal
   * @returns {Promise<ResultDocument>}
   */
  async #poll(url, progress, signal) {
    for (;;) {
      const job = await this.json(url, { signal });
      if (job.state === 'done') return job.result;
      if (job.state === 'failed') throw problemError(job.problem, 500);
      if (job.state === 'cancelled') throw new DOMException('cancelled', 'AbortError');
      progress(job.state === 'queued' ? 'queued' : job.stage === 'decoding' ? 'decoding' : 'encoding', job);
      await pause(500);
      signal.throwIfAborted();
    }
  }
}
