// Spectrograms of the states of the chain, painted as they come.

import { LOWEST_DB, STEPS_PER_DB } from "./levels.js";

const RANGE_DB = 80; // from the darkest colour to the brightest
const MAX_COLUMNS = 1600; // of a picture; of longer speech each shows the loudest of its frames
// Seventeen colours of matplotlib's magma.
const COLOURS = [
  "#000003",
  "#0a0722",
  "#1c1046",
  "#350f6a",
  "#50127b",
  "#691c80",
  "#822581",
  "#9c2e7f",
  "#b63679",
  "#ce4070",
  "#e55063",
  "#f4685b",
  "#fb8660",
  "#fda470",
  "#fec286",
  "#fddfa1",
  "#fbfcbf",
];

const PALETTE = Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (COLOURS.length - 1);
  const left = Math.min(Math.floor(place), COLOURS.length - 2);
  const channels = [1, 3, 5].map((at) => {
    const [low, high] = [COLOURS[left], COLOURS[left + 1]].map((c) =>
      parseInt(c.slice(at, at + 2), 16),
    );
    return Math.round(low + (place - left) * (high - low));
  });
  return (255 << 24) | (channels[2] << 16) | (channels[1] << 8) | channels[0];
});

export const GRADIENT = `linear-gradient(90deg, ${COLOURS.join(", ")})`;

/** One picture, [bins, columns], low frequencies below; shared by all canvases that show it. */
export class Picture {
  /**
   * @param {number} frames of the whole utterance.
   * @param {number} bins of a frame.
   */
  constructor(frames, bins) {
    Object.assign(this, { frames, bins });
    this.columns = Math.min(frames, MAX_COLUMNS);
    this.levels = new Uint8Array(this.columns * bins);
    this.canvas = document.createElement("canvas");
    Object.assign(this.canvas, { width: this.columns, height: bins });
  }

  /** Take the levels [n, bins] of the frames from `start` on. */
  take(start, levels) {
    const { bins, columns, frames } = this;
    let last = -1;
    for (let i = 0; i * bins < levels.length; i++) {
      const column = Math.floor(((start + i) * columns) / frames);
      const to = column * bins;
      for (let k = 0; k < bins; k++) {
        const level = levels[i * bins + k];
        if (column !== last || level > this.levels[to + k]) this.levels[to + k] = level;
      }
      last = column;
    }
  }

  /** The loudest level but for a thousandth, in dB relative to a sine at full scale. */
  top() {
    const counts = new Uint32Array(256);
    for (const level of this.levels) counts[level]++;
    let left = this.levels.length / 1000;
    let level = 255;
    while (level > 0 && (left -= counts[level]) > 0) level--;
    const db = LOWEST_DB + level / STEPS_PER_DB;
    return Math.min(Math.max(5 * Math.ceil(db / 5), LOWEST_DB + RANGE_DB), 5);
  }

  /** Paint all of it, the brightest colour at `top` dB. */
  paint(top) {
    const { bins, columns, levels } = this;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(columns, bins);
    const pixels = new Uint32Array(image.data.buffer);
    const colours = Uint32Array.from({ length: 256 }, (_, level) => {
      const db = LOWEST_DB + level / STEPS_PER_DB;
      const shade = Math.round(255 * ((db - top) / RANGE_DB + 1));
      return PALETTE[Math.min(Math.max(shade, 0), 255)];
    });
    for (let k = 0; k < bins; k++) {
      const row = (bins - 1 - k) * columns;
      for (let column = 0; column < columns; column++) {
        pixels[row + column] = colours[levels[column * bins + k]];
      }
    }
    context.putImageData(image, 0, 0);
  }
}

/** Copy a picture to the canvas of a panel, which has its size. */
export function show(picture, canvas) {
  if (canvas.width !== picture.columns || canvas.height !== picture.bins) {
    Object.assign(canvas, { width: picture.columns, height: picture.bins });
  }
  canvas.getContext("2d").drawImage(picture.canvas, 0, 0);
}

export function scale(top) {
  return { low: top - RANGE_DB, high: top };
}

/** The extremes of a wave in every column of a canvas. */
export function paintWave(wave, canvas, colour) {
  const ratio = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.fillStyle = colour;
  if (!wave) return;
  for (let column = 0; column < width; column++) {
    const first = Math.floor((column * wave.length) / width);
    const last = Math.max(first + 1, Math.floor(((column + 1) * wave.length) / width));
    let low = Infinity;
    let high = -Infinity;
    for (let n = first; n < last; n++) {
      if (wave[n] < low) low = wave[n];
      if (wave[n] > high) high = wave[n];
    }
    const top = (0.5 - 0.48 * Math.min(high, 1)) * height;
    const bottom = (0.5 - 0.48 * Math.max(low, -1)) * height;
    context.fillRect(column, top, 1, Math.max(bottom - top, ratio));
  }
}
