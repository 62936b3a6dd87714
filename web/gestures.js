/**
 * Pointers, wheel and keys on the stage, told as what they mean.
 * @typedef {import('./types.js').Tool} Tool
 * @typedef {Object} Actions
 * @property {(dx: number, dy: number) => void} pan
 * @property {(factor: number, x?: number, y?: number) => void} zoom
 * @property {() => void} fit
 * @property {(x: number, y: number, pointer: string) => void} hover
 * @property {() => void} leave
 * @property {(x: number, y: number) => void} click
 * @property {(x0: number, y0: number, x1: number, y1: number) => void} drawing
 * @property {(x0: number, y0: number, x1: number, y1: number) => void} drawn
 * @property {() => void} abandon  the box being drawn
 * @property {() => Tool} tool
 */

const CLICK_DISTANCE = 5;
const KEY_STEP = 48;

/**
 * @param {HTMLElement} stage
 * @param {Actions} actions
 */
export function listenToPointers(stage, actions) {
  /** @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  let start = { x: 0, y: 0 };
  let moved = false;
  /** @type {'none' | 'pan' | 'box' | 'pinch'} */
  let doing = 'none';
  let space = false;

  /** @param {MouseEvent} event */
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = [...down.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
  };

  stage.addEventListener('pointerdown', (event) => {
    if (event.button > 1) return;
    stage.setPointerCapture(event.pointerId);
    const at = place(event);
    down.set(event.pointerId, at);
    if (down.size === 2) {
      if (doing === 'box') actions.abandon();
      doing = 'pinch';
    } else if (down.size === 1) {
      [start, moved] = [at, false];
      doing = event.button === 1 || space || actions.tool() === 'pan' ? 'pan' : 'box';
      if (event.button === 1) event.preventDefault();
    }
  });

  stage.addEventListener('pointermove', (event) => {
    const at = place(event);
    const before = down.get(event.pointerId);
    if (!before) {
      actions.hover(at.x, at.y, event.pointerType);
      return;
    }
    if (doing === 'pinch' && down.size === 2) {
      const old = spread();
      down.set(event.pointerId, at);
      const now = spread();
      actions.pan(now.x - old.x, now.y - old.y);
      actions.zoom(now.distance / old.distance, now.x, now.y);
      return;
    }
    down.set(event.pointerId, at);
    if (!moved && Math.hypot(at.x - start.x, at.y - start.y) < CLICK_DISTANCE) return;
    if (doing === 'pan') {
      const from = moved ? before : start;
      actions.pan(at.x - from.x, at.y - from.y);
      stage.classList.add('dragging');
    } else if (doing === 'box') {
      actions.drawing(start.x, start.y, at.x, at.y);
    }
    moved = true;
  });

  const end = (/** @type {PointerEvent} */ event, /** @type {boolean} */ whole) => {
    if (!down.delete(event.pointerId)) return;
    stage.classList.remove('dragging');
    const at = place(event);
    if (doing === 'box') {
      if (moved && whole) actions.drawn(start.x, start.y, at.x, at.y);
      else actions.abandon();
    }
    if (whole && !moved && doing !== 'pinch' && event.button === 0) actions.click(at.x, at.y);
    doing = down.size ? doing : 'none';
  };
  stage.addEventListener('pointerup', (event) => end(event, true));
  stage.addEventListener('pointercancel', (event) => end(event, false));
  stage.addEventListener('pointerleave', () => actions.leave());

  stage.addEventListener('wheel', (event) => {
    event.preventDefault();
    const at = place(event);
    if (event.shiftKey) actions.pan(-event.deltaY, 0);
    else actions.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : event.ctrlKey ? 0.01 : 0.0015)), at.x, at.y);
  }, { passive: false });

  stage.addEventListener('dblclick', (event) => {
    const at = place(event);
    if (actions.tool() === 'pan') actions.zoom(2, at.x, at.y);
  });

  stage.addEventListener('keydown', (event) => {
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => actions.pan(KEY_STEP, 0), ArrowRight: () => actions.pan(-KEY_STEP, 0),
      ArrowUp: () => actions.pan(0, KEY_STEP), ArrowDown: () => actions.pan(0, -KEY_STEP),
      ' ': () => { space = true; },
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  stage.addEventListener('keyup', (event) => {
    if (event.key === ' ') space = false;
  });
  stage.addEventListener('blur', () => { space = false; });
}
