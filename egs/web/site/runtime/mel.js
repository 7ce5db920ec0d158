// Mel-spectrograms: of a wave in the voice's convention, and whether an array is one of it.

import { InputError } from "./errors.js";
import { RealFFT } from "./fft.js";
import { hannAt } from "./stft.js";

const LOG_FACTORS = { ln: 1, log10: 1 / Math.LN10, db: 20 / Math.LN10 };
const MAX_MINUTES = 5; // every state of the chain is kept, to be heard
// As diffwave/mel/check.py: nepers by which a predicted mel may undershoot the floor, and lie above
// white noise of variance 1; part of the range by which it may overshoot limits.
const FLOOR_MARGIN = 1.5;
const TOP = 5;
const LIMITS_MARGIN = 0.05;

/**
 * A mel as the networks take it: Float32Array [nMels, frames], of one utterance.
 *
 * @param {{shape: number[], data: Float32Array}} array [nMels, T], [T, nMels] or either in a batch
 *   of one; a square one is taken as [nMels, T].
 * @param {object} config the voice's mel convention.
 * @throws {InputError} for an array that is no mel of that convention.
 */
export function checkedMel({ shape, data }, config) {
  const { n_mels: nMels, name } = config;
  const given = `[${shape.join(", ")}]`;
  const axes = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape;
  if (axes.length !== 2 || !axes.includes(nMels)) {
    throw new InputError(
      `A mel-spectrogram must have the shape [${nMels}, frames], [frames, ${nMels}] or ` +
        `[1, ${nMels}, frames], not ${given}.`,
    );
  }
  const transposed = axes[0] !== nMels;
  const frames = transposed ? axes[0] : axes[1];
  if (frames < 2) throw new InputError("A mel-spectrogram has 2 frames at least.");
  checkLength((frames * config.hop_length) / config.sample_rate);
  const mel = transposed ? turned(data, frames, nMels) : data;
  checkValues(mel, config, name);
  return mel;
}

/** Refuses, before any work, what a browser's memory may not hold. */
export function checkLength(seconds) {
  if (seconds > 60 * MAX_MINUTES) {
    throw new InputError(
      `This is ${(seconds / 60).toFixed(1)} minutes of speech, and the page takes ${MAX_MINUTES} ` +
        "at most.",
    );
  }
}

function turned(data, rows, columns) {
  const found = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      found[column * rows + row] = data[row * columns + column];
    }
  }
  return found;
}

function checkValues(mel, config, name) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of mel) {
    if (!Number.isFinite(value)) {
      throw new InputError("The mel-spectrogram holds NaN or infinity.");
    }
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (config.mean !== null) return; // of normalised values nothing is known
  const [least, most] = usualRange(config);
  if (low >= least && high <= most) return;
  throw new InputError(
    `The mel-spectrogram's values (${low.toPrecision(3)} to ${high.toPrecision(3)}) do not fit ` +
      `the convention ${name} (${least.toFixed(1)} to ${most.toFixed(1)}).`,
  );
}

// Values that a wave within -1..1, and a model's imprecision, may give.
function usualRange(config) {
  const { floor, limits, offset, gain, log, win_length: window } = config;
  if (limits !== null) {
    const margin = LIMITS_MARGIN * (limits[1] - limits[0]);
    return [limits[0] - margin, limits[1] + margin];
  }
  const area = config.mel_norm === "slaney" ? 1 : (config.fmax - config.fmin) / config.n_mels;
  const noise = config.normalized ? 1 : Math.sqrt((3 / 8) * window);
  const unit = Math.log((area * config.n_fft * noise) / config.sample_rate);
  const value = (nepers) => gain * LOG_FACTORS[log] * nepers + offset;
  return [value(Math.log(floor) - FLOOR_MARGIN), value(unit + TOP)];
}

/**
 * The mel of a wave, [nMels, frames]: diffwave/mel/frontend.py.
 *
 * @param {Float32Array} wave at the convention's sample rate, within -1..1.
 * @param {object} config the convention.
 * @param {Float32Array} filters from magnitudes in which unit white noise has an rms of 1 to mel
 *   amplitudes, [nMels, nFft / 2 + 1].
 * @throws {InputError} for a wave too short to analyse.
 */
export function melSpectrogram(wave, config, filters) {
  const { n_fft: nFft, hop_length: hop, n_mels: nMels, win_length: length } = config;
  const left = config.centered ? nFft / 2 : Math.floor((nFft - hop) / 2);
  const right = config.centered ? nFft / 2 : nFft - hop - left;
  const least = Math.max(right + 1, config.centered ? 1 : hop);
  if (wave.length < least) {
    throw new InputError(
      `The recording is too short: it has ${wave.length} samples, and a mel-spectrogram needs ` +
        `${least}.`,
    );
  }
  const frames = Math.max(0, 1 + Math.floor((wave.length + left + right - nFft) / hop));
  const fft = new RealFFT(nFft);
  const window = new Float64Array(nFft);
  const before = Math.floor((nFft - length) / 2); // a shorter window lies in the middle
  for (let n = 0; n < length; n++) window[before + n] = Math.fround(hannAt(n, length));
  const norm = Math.sqrt(window.reduce((sum, value) => sum + value * value, 0));
  const factor = config.gain * LOG_FACTORS[config.log];
  const [bins, samples] = [nFft / 2 + 1, new Float64Array(nFft)];
  const [re, im, magnitudes] = [0, 0, 0].map(() => new Float64Array(bins));
  const mel = new Float32Array(nMels * frames);
  for (let frame = 0; frame < frames; frame++) {
    for (let n = 0; n < nFft; n++) {
      samples[n] = reflected(wave, frame * hop + n - left) * window[n];
    }
    fft.forward(samples, re, im);
    for (let k = 0; k < bins; k++) {
      const power = re[k] * re[k] + im[k] * im[k] + config.magnitude_eps;
      magnitudes[k] = Math.sqrt(Math.max(power, 1e-20)) / norm;
    }
    for (let band = 0; band < nMels; band++) {
      let amplitude = 0;
      for (let k = 0; k < bins; k++) amplitude += filters[band * bins + k] * magnitudes[k];
      let value = factor * Math.log(Math.max(amplitude, config.floor)) + config.offset;
      if (config.limits) value = Math.min(Math.max(value, config.limits[0]), config.limits[1]);
      if (config.mean) value = (value - config.mean[band]) / config.scale[band];
      mel[band * frames + frame] = value;
    }
  }
  return mel;
}

function reflected(wave, n) {
  if (n < 0) return wave[-n];
  return n < wave.length ? wave[n] : wave[2 * wave.length - 2 - n];
}
