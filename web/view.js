/** Where the image lies on the stage: screen = offset + image * scale, in CSS pixels. */
const MAX_SCALE = 40;
const MARGIN = 24;

export class View {
  scale = 1;
  x = 0;
  y = 0;
  /** The stage. */ width = 1;
  height = 1;
  /** Of the stage's height, what the bar at its foot covers. */ foot = 0;
  /** The image. */ imageWidth = 1;
  imageHeight = 1;
  /** Whether the image follows the stage's size until the person moves it. */ fitted = true;

  /** @param {number} width @param {number} height of the stage */
  resize(width, height) {
    const dx = (width - this.width) / 2;
    const dy = (height - this.height) / 2;
    [this.width, this.height] = [Math.max(width, 1), Math.max(height, 1)];
    if (this.fitted) this.fit();
    else this.pan(dx, dy);
  }

  get fitScale() {
    const margin = Math.min(MARGIN, this.width / 20);
    const free = (/** @type {number} */ length) => Math.max(length - 2 * margin, 1);
    return Math.min(free(this.width) / this.imageWidth, free(this.height - this.foot) / this.imageHeight, 8);
  }

  fit() {
    this.fitted = true;
    this.scale = this.fitScale;
    this.x = (this.width - this.imageWidth * this.scale) / 2;
    this.y = (this.height - this.foot - this.imageHeight * this.scale) / 2;
  }

  /** Moves the image, but never out of sight. @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.fitted = false;
    const keep = 40;
    const clamp = (/** @type {number} */ at, /** @type {number} */ size, /** @type {number} */ stage) =>
      Math.min(Math.max(at, keep - size), stage - keep);
    this.x = clamp(this.x + dx, this.imageWidth * this.scale, this.width);
    this.y = clamp(this.y + dy, this.imageHeight * this.scale, this.height);
  }

  /** The point of the image under sx, sy stays there. @param {number} factor @param {number} [sx] @param {number} [sy] */
  zoom(factor, sx = this.width / 2, sy = this.height / 2) {
    const smallest = Math.min(this.fitScale / 2, 1);
    const scale = Math.min(Math.max(this.scale * factor, smallest), MAX_SCALE);
    const [ix, iy] = this.toImage(sx, sy);
    this.scale = scale;
    this.x = sx - ix * scale;
    this.y = sy - iy * scale;
    this.pan(0, 0);
  }

  /** @param {number} sx @param {number} sy @returns {[number, number]} */
  toImage(sx, sy) {
    return [(sx - this.x) / this.scale, (sy - this.y) / this.scale];
  }

  /** @param {number} ix @param {number} iy @returns {[number, number]} */
  toScreen(ix, iy) {
    return [this.x + ix * this.scale, this.y + iy * this.scale];
  }
}
