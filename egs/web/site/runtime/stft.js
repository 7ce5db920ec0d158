// The short-time Fourier transform, and the signal whose transform is nearest to a spectrum:
// diffwave/dsp/stft.py. A spectrum is { re, im }, Float32Arrays [frames, bins], bins = nFft / 2 + 1.

import { RealFFT } from "./fft.js";

export class STFT {
  /**
   * @param {number} nFft samples of a frame, a power of two.
   * @param {number} hop samples from frame to frame.
   */
  constructor(nFft, hop) {
    this.nFft = nFft;
    this.hop = hop;
    this.bins = nFft / 2 + 1;
    this.fft = new RealFFT(nFft);
    this.scratch = new Float64Array(nFft);
    // Periodic Hann windows, scaled so that unit white noise has E|X|^2 = 1; their product is the
    // squared Hann window. Single precision, as the networks were trained with.
    const hann = Float64Array.from({ length: nFft }, (_, n) => hannAt(n, nFft));
    const scale = Math.sqrt(hann.reduce((sum, value) => sum + value * value, 0));
    this.window = Float64Array.from(hann, (value) => Math.fround(value / scale));
    this.synthesisWindow = Float64Array.from(hann, (value) => Math.fround(value * scale));
  }

  /** Samples that so many frames cover. */
  samples(frames) {
    return (frames - 1) * this.hop + this.nFft;
  }

  /** The transform of the frame of `wave` that begins at `start`, in re and im [bins]. */
  analyseFrame(wave, start, re, im) {
    const { window, scratch, nFft } = this;
    for (let n = 0; n < nFft; n++) scratch[n] = wave[start + n] * window[n];
    this.fft.forward(scratch, re, im);
  }

  /** Adds the signal of one frame, under its window, to `wave` from `start` on. */
  addFrame(re, im, wave, start) {
    const { synthesisWindow, scratch, nFft } = this;
    this.fft.inverse(re, im, scratch);
    for (let n = 0; n < nFft; n++) wave[start + n] += scratch[n] * synthesisWindow[n];
  }

  /** The transform of samples(frames) samples. */
  analyse(wave) {
    const frames = 1 + Math.floor((wave.length - this.nFft) / this.hop);
    const spectrum = emptySpectrum(frames, this.bins);
    const re = new Float64Array(this.bins);
    const im = new Float64Array(this.bins);
    for (let frame = 0; frame < frames; frame++) {
      this.analyseFrame(wave, frame * this.hop, re, im);
      spectrum.re.set(re, frame * this.bins);
      spectrum.im.set(im, frame * this.bins);
    }
    return spectrum;
  }

  /** samples(frames) samples whose transform is nearest to a spectrum (least squares). */
  inverse(spectrum) {
    const frames = spectrum.re.length / this.bins;
    const wave = new Float64Array(this.samples(frames));
    for (let frame = 0; frame < frames; frame++) {
      const at = frame * this.bins;
      const re = spectrum.re.subarray(at, at + this.bins);
      this.addFrame(re, spectrum.im.subarray(at, at + this.bins), wave, frame * this.hop);
    }
    const norm = this.norm(frames);
    for (let n = 0; n < wave.length; n++) wave[n] *= norm[n];
    return wave;
  }

  /** One over the sum of the squared windows that overlap in every sample, [samples(frames)]. */
  norm(frames) {
    const sum = new Float64Array(this.samples(frames));
    for (let frame = 0; frame < frames; frame++) {
      for (let n = 0; n < this.nFft; n++) {
        sum[frame * this.hop + n] += this.window[n] * this.synthesisWindow[n];
      }
    }
    return sum.map((weight) => 1 / Math.max(weight, 1e-3));
  }
}

export function hannAt(n, size) {
  return 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size);
}

export function emptySpectrum(frames, bins) {
  return { re: new Float32Array(frames * bins), im: new Float32Array(frames * bins) };
}
