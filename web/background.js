/** Calls into worker.js. */
export class Background {
  #next = 0;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */ #waiting = new Map();

  constructor() {
    this.worker = new Worker('/web/worker.js', { type: 'module' });
    this.worker.onmessage = ({ data }) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.error === undefined) waiting?.resolve(data.answer);
      else waiting?.reject(new Error(data.error));
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(event.message || 'the worker failed'));
      this.#waiting.clear();
    };
  }

  /** @param {'load' | 'restore' | 'index' | 'maskZip' | 'fuse'} task @param {object} request @returns {Promise<any>} */
  call(task, request) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...request, id, task });
    });
  }
}
