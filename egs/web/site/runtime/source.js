// The source of speech: pulses where the voice is voiced, noise elsewhere, through the mel's envelope
// (diffwave/dsp/source.py). Pulse times are those of the whole utterance, in samples with fractions.

const LOWEST_F0 = 50; // Hz, what voices have
const HIGHEST_F0 = 600;
const REACH = 8; // samples on each side of a pulse that its band-limited shape covers
const BLOCK_FRAMES = 8192; // frames whose phase is accumulated at a time

/** Frequencies [T] in Hz at another pitch, within what voices have. */
export function transposed(f0, semitones) {
  const factor = 2 ** (semitones / 12);
  return f0.map((hz) => Math.min(Math.max(hz * factor, LOWEST_F0), HIGHEST_F0));
}

/**
 * Times at which the accumulated phase of F0 passes a whole turn in voiced frames.
 *
 * @param {Float32Array} f0 Hz, above 0 everywhere, [T]; interpolated on a logarithmic scale.
 * @param {Uint8Array} voiced [T].
 * @param {number} sampleRate Hz.
 * @param {number} hop samples from frame to frame.
 * @param {number} centre sample in the middle of frame 0; may be negative.
 * @returns {{times: Float64Array, heights: Float64Array}} samples since the first one of the
 *   utterance; the root of the period, with which the train has the power of unit white noise.
 */
export function pulseTimes(f0, voiced, sampleRate, hop, centre) {
  const logF0 = Float64Array.from(f0, Math.log);
  const last = f0.length - 1;
  const times = [];
  const heights = [];
  let phase = 0;
  let sample = 0;
  for (let first = 0; first < f0.length; first += BLOCK_FRAMES) {
    const stop = Math.min(f0.length, first + BLOCK_FRAMES) * hop;
    let sum = 0;
    let before = phase;
    for (; sample < stop; sample++) {
      const place = (sample - centre) / hop;
      const hz = Math.exp(interpolated(logF0, place, last));
      sum += hz / sampleRate;
      const turns = phase + sum;
      if (Math.floor(turns) > Math.floor(before)) {
        const near = Math.min(Math.max(roundHalfEven(place), 0), last);
        if (voiced[near]) {
          // The phase passed the turn between the sample before and this one.
          times.push(sample - 1 + (Math.floor(turns) - before) / (turns - before));
          heights.push(Math.sqrt(sampleRate / hz));
        }
      }
      before = turns;
    }
    phase += sum;
  }
  return { times: Float64Array.from(times), heights: Float64Array.from(heights) };
}

function interpolated(values, place, last) {
  if (place <= 0) return values[0];
  if (place >= last) return values[last];
  const left = Math.floor(place);
  return values[left] + (place - left) * (values[left + 1] - values[left]);
}

function roundHalfEven(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

/** Samples start .. start + length - 1 of band-limited pulses, Float32Array [length]. */
export function pulseTrain({ times, heights }, start, length) {
  const train = new Float64Array(length);
  for (let i = 0; i < times.length; i++) {
    const time = times[i] - start;
    if (time < -REACH - 1 || time >= length + REACH + 1) continue;
    const whole = Math.floor(time);
    for (let offset = -REACH; offset <= REACH; offset++) {
      const n = whole + offset;
      if (n < 0 || n >= length) continue;
      // A sinc at the exact time under a Hann window.
      const away = offset - (time - whole);
      const sinc = away === 0 ? 1 : Math.sin(Math.PI * away) / (Math.PI * away);
      const hann = 0.5 + 0.5 * Math.cos((Math.PI * Math.max(away, -9)) / (REACH + 1));
      train[n] += sinc * hann * heights[i];
    }
  }
  return Float32Array.from(train);
}

/**
 * The Gaussian that a chain with a source ends in.
 *
 * The mean is the pulses in the envelope, with the envelope's minimum phase (by the folded cepstrum;
 * Oppenheim and Schafer, Discrete-Time Signal Processing, section 13), by their share of the power;
 * the deviation is what is left for noise. With K = bins - 1, as the space has no Nyquist bin:
 *
 * @param {RealFFT} fft of 2 K samples.
 * @param {object} pulses transform of the pulse train, [frames, K + 1].
 * @param {Float32Array} share of the power that pulses have in every band, [frames, bands].
 * @param {Float32Array} weights from bands to frequencies, [bands, K].
 * @param {Float32Array} logEnvelope deviation of pulses and noise together, [frames, K].
 * @param {number} leastNoise smallest share of the power that is noise.
 * @returns {{mean: Float32Array, deviation: Float32Array}} [frames, 2, K] and [frames, K]
 */
export function shapedSource(fft, pulses, share, weights, logEnvelope, leastNoise) {
  const size = fft.size;
  const bins = size / 2;
  const frames = logEnvelope.length / bins;
  const bands = share.length / frames;
  const mean = new Float32Array(frames * 2 * bins);
  const deviation = new Float32Array(frames * bins);
  const re = new Float64Array(bins + 1);
  const phase = new Float64Array(bins + 1);
  const zero = new Float64Array(bins + 1);
  const cepstrum = new Float64Array(size);
  for (let frame = 0; frame < frames; frame++) {
    const at = frame * bins;
    for (let k = 0; k < bins; k++) re[k] = logEnvelope[at + k];
    re[bins] = re[bins - 1];
    fft.inverse(re, zero, cepstrum);
    for (let n = 1; n < bins; n++) cepstrum[n] *= 2;
    cepstrum.fill(0, bins + 1);
    fft.forward(cepstrum, re, phase);
    for (let k = 0; k < bins; k++) {
      let part = 0;
      for (let b = 0; b < bands; b++) part += share[frame * bands + b] * weights[b * bins + k];
      part = Math.min(Math.max(part, 0), 1);
      const envelope = Math.exp(logEnvelope[at + k]);
      const magnitude = envelope * Math.sqrt(part);
      const cos = magnitude * Math.cos(phase[k]);
      const sin = magnitude * Math.sin(phase[k]);
      const pulse = frame * (bins + 1) + k;
      mean[2 * at + k] = pulses.re[pulse] * cos - pulses.im[pulse] * sin;
      mean[2 * at + bins + k] = pulses.re[pulse] * sin + pulses.im[pulse] * cos;
      deviation[at + k] = envelope * Math.sqrt(Math.max(1 - part, leastNoise));
    }
  }
  return { mean, deviation };
}
