/**
 * Server-sent events out of a fetch response. EventSource cannot send the header with the API key, fetch can.
 * @typedef {{event: string, data: string}} ServerEvent
 */

/** Takes text in any pieces and gives the events that are complete. */
export class EventParser {
  #rest = '';
  #event = '';
  /** @type {string[]} */ #data = [];

  /**
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  push(text) {
    /** @type {ServerEvent[]} */
    const events = [];
    const all = this.#rest + text;
    // A carriage return at the very end may be the first half of a line end: it waits for the next piece.
    const whole = all.endsWith('\r') ? all.slice(0, -1) : all;
    const lines = whole.split(/\r\n|\n|\r/);
    this.#rest = /** @type {string} */ (lines.pop()) + all.slice(whole.length);
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length) events.push({ event: this.#event || 'message', data: this.#data.join('\n') });
        this.#event = '';
        this.#data = [];
        continue;
      }
      const [, field, value] = /** @type {RegExpExecArray} */ (/^([^:]*)(?:: ?(.*))?$/.exec(line));
      if (field === 'event') this.#event = value ?? '';
      else if (field === 'data') this.#data.push(value ?? '');
    }
    return events;
  }
}

/**
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* readEvents(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
