/**
 * A server that answers as the real one does, for tests of the page alone: shapes painted on a plain ground are found
 * by their colour. It serves the page from web/.
 *
 *   node mock_server.mjs [PORT]
 *
 * Behaviour for tests: phrases "busy" (429), "slow" (takes 20 s), "broken" (the job fails), "unknown" (422).
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodePng, encodeRle, paintSample, SAMPLE_PHRASES } from './shapes.mjs';

const WEB = fileURLToPath(new URL('../../web/', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const CSP = "default-src 'self'; img-src 'self' blob: data:";
const GLOSSARY = { '红色': 'red', '蓝色': 'blue', '绿色': 'green', '圆': 'circle', '正方形': 'square', '三角形': 'triangle' };
const COLOURS = { red: [214, 48, 49], blue: [41, 98, 255], green: [0, 150, 90], yellow: [250, 190, 20] };

const problem = (status, name, detail, headers = {}) => ({
  status, headers: { 'Content-Type': 'application/problem+json', ...headers },
  body: JSON.stringify({ type: `/problems/${name}`, title: name, status, detail }),
});
const json = (value, status = 200) => ({ status, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(value) });

export class MockServer {
  images = new Map();
  jobs = new Map();
  requests = []; // "METHOD path" of all
  key = null; // the API key that is asked for
  delay = 30; // ms a stage
  busy = 0;
  started = Date.now();
  sample = paintSample(640, 480);

  async listen(port = 0) {
    this.server = createServer((request, response) => this.#serve(request, response));
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  close() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }

  async #serve(request, response) {
    const url = new URL(request.url, 'http://x');
    this.requests.push(`${request.method} ${url.pathname}`);
    const parts = [];
    for await (const part of request) parts.push(part);
    const events = /^\/v1\/jobs\/([^/]+)\/events$/.exec(url.pathname);
    if (events && this.#allowed(request)) return this.#stream(events[1], response);
    const answer = await this.#answer(request, url.pathname, Buffer.concat(parts));
    response.writeHead(answer.status, { 'Content-Security-Policy': CSP, ...answer.headers });
    response.end(answer.body);
  }

  #allowed(request) {
    return !this.key || request.headers.authorization === `Bearer ${this.key}`;
  }

  async #answer(request, path, body) {
    if (path === '/' || path.startsWith('/web/')) return this.#file(path);
    if (path === '/samples/shapes.png') return { status: 200, headers: { 'Content-Type': 'image/png' }, body: this.sample.png };
    if (path.startsWith('/v1/') && !this.#allowed(request)) return problem(401, 'unauthorized', 'an API key is needed');
    if (path === '/v1/model') {
      return json({ name: 'sam3-demo', demo: true, image_size: 224, parameters: 8400000, dtype: 'f16', version: '0.1.0', languages: ['en', 'zh'], vocabulary: ['circle', 'square', 'triangle', 'red circle', 'blue square', 'green triangle', 'star', 'heart', 'dog', 'cat', 'car', 'tree', 'book'] });
    }
    if (path === '/v1/samples') return json([{ name: 'shapes', url: '/samples/shapes.png', phrases: SAMPLE_PHRASES }]);
    if (path === '/v1/devices') return json(this.#devices());
    if (path === '/v1/images' && request.method === 'POST') return this.#upload(request, body);
    const segment = /^\/v1\/images\/([^/]+)\/segment$/.exec(path);
    if (segment) return this.#segment(segment[1], JSON.parse(body.toString()));
    const job = this.jobs.get(/^\/v1\/jobs\/([^/]+)$/.exec(path)?.[1]);
    if (job && request.method === 'DELETE') {
      job.cancel();
      return { status: 204, headers: {}, body: '' };
    }
    if (job) return json(job.view());
    return problem(404, 'not-found', `there is no ${path}`);
  }

  async #file(path) {
    const name = path === '/' ? 'index.html' : normalize(path.slice('/web/'.length));
    try {
      return { status: 200, headers: { 'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream' }, body: await readFile(join(WEB, name)) };
    } catch {
      return problem(404, 'not-found', `there is no ${path}`);
    }
  }

  #devices() {
    const age = (Date.now() - this.started) / 1000;
    const worker = (device, state, busy) => ({ device, state, process: 1, requests: 41, failures: 0, restarts: 0, images: 12, cache_hits: 30, cached: 7, memory: 412e6, weights: 17e6, busy, age, stages: [] });
    return { parallel: 'processes', schedule: 'auto', queued: 2, running: 1, accepted: 90, rejected: 3, done: 84, failed: 0, cancelled: 1, workers: [worker('cpu:0', 'busy', age * 0.82), worker('cpu:1', 'idle', age * 0.36)] };
  }

  #upload(request, body) {
    const image = this.known?.(body) ?? decodePng(body);
    if (!image) return problem(415, 'unsupported-media', 'the body is not a JPEG, PNG or WebP image');
    const id = createHash('sha256').update(body).digest('hex').slice(0, 16);
    this.images.set(id, image);
    return json({ id, width: image.width, height: image.height }, 201);
  }

  #segment(id, { prompts, threshold }) {
    const image = this.images.get(id);
    if (!image) return problem(404, 'not-found', `there is no image ${id}: it may have been dropped`);
    const texts = prompts.map(({ text }) => text);
    if (texts.includes('busy')) return problem(429, 'queue-full', '64 requests are waiting, the most there may be', { 'Retry-After': '2' });
    if (texts.includes('unknown')) return problem(422, 'unprocessable', 'prompts[0].text: the glossary does not know “unknown”');
    const job = new Job(this, image, prompts, threshold, texts.includes('slow') ? 10_000 : this.delay, texts.includes('broken'));
    const name = randomUUID();
    this.jobs.set(name, job);
    return json({ job: name, events: `/v1/jobs/${name}/events`, url: `/v1/jobs/${name}` }, 202);
  }

  #stream(name, response) {
    const job = this.jobs.get(name);
    response.writeHead(job ? 200 : 404, { 'Content-Type': 'text/event-stream' });
    if (!job) return response.end();
    response.write(': open\n\n');
    job.listen((event, data, last) => {
      response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      if (last) response.end();
    });
    return undefined;
  }
}

class Job {
  state = 'queued';
  past = [];
  listeners = [];

  constructor(server, image, prompts, threshold, delay, broken) {
    Object.assign(this, { server, image, prompts, threshold, delay, broken });
    this.#run();
  }

  async #run() {
    const steps = [['queued', { position: 2 }], ['queued', { position: 1 }], ['encoding', { stage: 'vision', fraction: 0.3 }],
      ['encoding', { stage: 'neck', fraction: 0.9 }], ['decoding', { stage: 'decoder', fraction: 0.5 }]];
    for (const [event, data] of steps) {
      this.#tell(event, data);
      await new Promise((resolve) => setTimeout(resolve, this.delay));
      if (this.state === 'cancelled') return;
      this.state = 'running';
    }
    this.state = this.broken ? 'failed' : 'done';
    if (this.broken) this.#tell('failed', { type: '/problems/internal', title: 'internal', status: 500, detail: 'the worker of cpu:0 died twice' }, true);
    else this.#tell('done', this.result = find(this.image, this.prompts, this.threshold), true);
  }

  #tell(event, data, last = false) {
    this.past.push([event, data, last]);
    for (const listener of this.listeners) listener(event, data, last);
  }

  listen(listener) {
    for (const event of this.past) listener(...event);
    this.listeners.push(listener);
  }

  cancel() {
    if (this.state === 'done' || this.state === 'failed') return;
    this.state = 'cancelled';
    this.#tell('cancelled', {}, true);
  }

  view() {
    return { state: this.state, position: 0, result: this.result };
  }
}

/** The shapes of an image that a prompt means. */
function find(image, prompts, threshold) {
  const results = prompts.map((prompt) => {
    const translated = prompt.text && /\p{Script=Han}/u.test(prompt.text)
      ? Object.entries(GLOSSARY).filter(([zh]) => prompt.text.includes(zh)).map(([, en]) => en).join(' ') : undefined;
    const words = (translated ?? prompt.text ?? '').split(' ');
    const colour = words.find((word) => COLOURS[word]);
    const kind = words.find((word) => ['circle', 'square', 'triangle', 'shape'].includes(word.replace(/s$/, '')))?.replace(/s$/, '');
    const inside = ({ box }, shape) => shape.x >= box[0] && shape.x < box[2] && shape.y >= box[1] && shape.y < box[3];
    const plus = prompt.boxes.filter(({ label }) => label).flatMap((b) => image.shapes.filter((s) => inside(b, s)));
    const minus = prompt.boxes.filter(({ label }) => !label).flatMap((b) => image.shapes.filter((s) => inside(b, s)));
    const means = (shape) => !minus.includes(shape) &&
      (prompt.text === null ? plus.some((p) => p.kind === shape.kind)
        : (kind || colour) && (!kind || kind === 'shape' || shape.kind === kind) && (!colour || shape.colour === colour));
    const detections = image.shapes.filter((shape) => means(shape) && shape.score > threshold)
      .sort((a, b) => b.score - a.score)
      .map((shape, id) => ({ id, label: prompt.text ?? 'visual', score: shape.score, ...encodeRle(shape, image.width, image.height) }));
    return { prompt: translated ? { ...prompt, translated } : prompt, presence: detections.length ? 0.97 : 0.04, detections };
  });
  return { model: 'sam3-demo', image: { path: '', width: image.width, height: image.height }, results,
    timing: { queued_ms: 3, running_ms: 84, device: 'cpu:0', encoded: true } };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(await new MockServer().listen(Number(process.argv[2] ?? 7861)));
}
