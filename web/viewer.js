/**
 * Draws the image and its masks with WebGL2. All masks are one texture of 16-bit numbers, looked up in a table of
 * colours: a frame costs the same for one mask and for hundreds, and what is shown, how and how strongly is a change
 * of a few bytes. The index texture is the image turned over its diagonal (see index_map.js).
 * @typedef {import('./types.js').Mode} Mode
 * @typedef {{scale: number, x: number, y: number, width: number, height: number, ratio: number, mode: Mode,
 *            fast: boolean}} Frame
 * @typedef {{x: number, y: number, width: number, height: number, image: WebGLTexture, index: WebGLTexture}} Tile
 */
import { TABLE_WIDTH } from './colours.js';

const VERTEX = `#version 300 es
uniform vec4 place;   // of the tile: x, y, width, height in image pixels
uniform vec3 view;    // offset and scale, in device pixels
uniform vec2 stage;   // in device pixels
out vec2 at;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  at = corner * place.zw;
  vec2 screen = (view.xy + (place.xy + at) * view.z) / stage;
  gl_Position = vec4(screen.x * 2.0 - 1.0, 1.0 - screen.y * 2.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp usampler2D;
uniform sampler2D image;
uniform usampler2D indices;
uniform sampler2D colours;
uniform vec4 place;
uniform float pixel;  // image pixels a line of the outline
uniform int mode;     // 0 original, 1 overlay, 2 masks, 3 cut-out
uniform bool outline;
uniform vec2 chequer; // size of its squares and their lightness
in vec2 at;
out vec4 colour;

uint indexAt(vec2 p) {
  ivec2 q = clamp(ivec2(p), ivec2(0), ivec2(place.zw) - 1);
  return texelFetch(indices, q.yx, 0).r;
}

vec4 entry(uint i) {
  return texelFetch(colours, ivec2(i % ${TABLE_WIDTH}u, i / ${TABLE_WIDTH}u), 0);
}

bool edge(uint i) {
  return indexAt(at + vec2(pixel, 0)) != i || indexAt(at - vec2(pixel, 0)) != i ||
         indexAt(at + vec2(0, pixel)) != i || indexAt(at - vec2(0, pixel)) != i;
}

void main() {
  vec4 picture = mode == 2 ? vec4(0.055, 0.063, 0.078, 1) : texture(image, at / place.zw);
  if (mode == 0) { colour = picture; return; }
  uint i = indexAt(at);
  vec4 tint = i == 0u ? vec4(0) : entry(i);
  if (mode == 3) {
    vec2 square = floor(gl_FragCoord.xy / chequer.x);
    float light = chequer.y + 0.06 * mod(square.x + square.y, 2.0);
    colour = tint.a > 0.0 ? picture : vec4(vec3(light), 1);
    return;
  }
  float strength = tint.a;
  if (mode == 2 && tint.a > 0.0) strength = 0.4 + 0.6 * tint.a;
  if (outline && tint.a > 0.0 && edge(i)) strength = 1.0;
  colour = vec4(mix(picture.rgb, tint.rgb, strength), 1);
}`;

const MODES = { original: 0, overlay: 1, masks: 2, cutout: 3 };
const UNIFORMS = ['place', 'view', 'stage', 'image', 'indices', 'colours', 'pixel', 'mode', 'outline', 'chequer'];

/** @param {WebGL2RenderingContext} gl @param {number} type @param {string} source */
function compile(gl, type, source) {
  const shader = /** @type {WebGLShader} */ (gl.createShader(type));
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
    throw new Error(`shader: ${gl.getShaderInfoLog(shader)}`);
  }
  return shader;
}

/** Browsers tell by failIfMajorPerformanceCaveat as well, but not all, not always. @param {WebGL2RenderingContext} gl */
function inSoftware(gl) {
  const unmasked = gl.getExtension('WEBGL_debug_renderer_info')?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER;
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(String(gl.getParameter(unmasked)));
}

export class GlViewer {
  kind = 'webgl2';
  /** @type {Tile[]} */ #tiles = [];

  /**
   * Throws when there is no WebGL2, or only one without a GPU, where a canvas is several times as fast.
   * @param {HTMLCanvasElement} canvas
   * @param {number} [largestTile] for tests; the device's own limit otherwise
   * @param {boolean} [slow] whether one without a GPU will do
   */
  constructor(canvas, largestTile = Infinity, slow = false) {
    const gl = canvas.getContext('webgl2', { alpha: true, antialias: false, depth: false, powerPreference: 'low-power' });
    if (!gl) throw new Error('no WebGL2');
    if (!slow && inSoftware(gl)) {
      gl.getExtension('WEBGL_lose_context')?.loseContext();
      throw new Error('WebGL2 without a GPU');
    }
    this.canvas = canvas;
    this.gl = gl;
    this.largestTile = Math.min(largestTile, gl.getParameter(gl.MAX_TEXTURE_SIZE));
    const program = gl.createProgram();
    gl.attachShader(program, compile(gl, gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, compile(gl, gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`program: ${gl.getProgramInfoLog(program)}`);
    gl.useProgram(program);
    /** @type {Record<string, WebGLUniformLocation | null>} */
    this.uniforms = Object.fromEntries(UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)]));
    gl.uniform1i(this.uniforms.image, 0);
    gl.uniform1i(this.uniforms.indices, 1);
    gl.uniform1i(this.uniforms.colours, 2);
    this.colours = this.#texture(gl.NEAREST);
    this.setColours(new Uint8Array(TABLE_WIDTH * 4));
  }

  /** @param {number} filter */
  #texture(filter) {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    return texture;
  }

  /** @param {ImageBitmap} bitmap */
  async setImage(bitmap) {
    const { gl, largestTile } = this;
    for (const { image, index } of this.#tiles) {
      gl.deleteTexture(image);
      gl.deleteTexture(index);
    }
    this.imageWidth = bitmap.width;
    this.imageHeight = bitmap.height;
    /** @type {Tile[]} */
    const tiles = [];
    const single = bitmap.width <= largestTile && bitmap.height <= largestTile;
    this.#tiles = [];
    for (let y = 0; y < bitmap.height; y += largestTile) {
      for (let x = 0; x < bitmap.width; x += largestTile) {
        const width = Math.min(largestTile, bitmap.width - x);
        const height = Math.min(largestTile, bitmap.height - y);
        const part = single ? bitmap : await createImageBitmap(bitmap, x, y, width, height);
        const image = this.#texture(gl.LINEAR);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, part);
        gl.generateMipmap(gl.TEXTURE_2D);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_NEAREST);
        if (!single) part.close();
        tiles.push({ x, y, width, height, image, index: this.#texture(gl.NEAREST) });
      }
    }
    this.#tiles = tiles;
    this.setIndex(null);
  }

  /** @param {Uint16Array | null} map of the whole image; null: no masks */
  setIndex(map) {
    const { gl } = this;
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 2);
    for (const tile of this.#tiles) {
      gl.bindTexture(gl.TEXTURE_2D, tile.index);
      if (!map) {
        // Reading beyond a texture of one pixel gives 0: no instance.
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16UI, 1, 1, 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, new Uint16Array(1));
        continue;
      }
      gl.pixelStorei(gl.UNPACK_ROW_LENGTH, this.imageHeight ?? 0);
      gl.pixelStorei(gl.UNPACK_SKIP_PIXELS, tile.y);
      gl.pixelStorei(gl.UNPACK_SKIP_ROWS, tile.x);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16UI, tile.height, tile.width, 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, map);
      for (const p of [gl.UNPACK_ROW_LENGTH, gl.UNPACK_SKIP_PIXELS, gl.UNPACK_SKIP_ROWS]) gl.pixelStorei(p, 0);
    }
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
    this.hasMasks = map !== null;
  }

  /** @param {Uint8Array} table from colourTable */
  setColours(table) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.colours);
    const rows = table.length / 4 / TABLE_WIDTH;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, TABLE_WIDTH, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
  }

  /** @param {Frame} frame */
  draw(frame) {
    const { gl, uniforms, canvas } = this;
    const { ratio, scale } = frame;
    const width = Math.round(frame.width * ratio);
    const height = Math.round(frame.height * ratio);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform3f(uniforms.view, frame.x * ratio, frame.y * ratio, scale * ratio);
    gl.uniform2f(uniforms.stage, width, height);
    gl.uniform1f(uniforms.pixel, Math.max(1, 1.25 / scale));
    gl.uniform1i(uniforms.mode, this.hasMasks || frame.mode !== 'overlay' ? MODES[frame.mode] : 0);
    gl.uniform1i(uniforms.outline, frame.fast ? 0 : 1);
    gl.uniform2f(uniforms.chequer, 8 * ratio, matchMedia('(prefers-color-scheme: dark)').matches ? 0.2 : 0.86);
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_2D, this.colours);
    for (const tile of this.#tiles) {
      gl.activeTexture(gl.TEXTURE1);
      gl.bindTexture(gl.TEXTURE_2D, tile.index);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, tile.image);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, scale >= 4 ? gl.NEAREST : gl.LINEAR);
      gl.uniform4f(uniforms.place, tile.x, tile.y, tile.width, tile.height);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
  }
}
