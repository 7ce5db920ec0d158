// Mel-consistency iterations: a spectrum is made to agree with its mel (diffwave/dsp/consistency.py).
//
// Two constraints are met in turn, as in Griffin and Lim (1984): the spectrum is moved to the
// nearest one that belongs to a signal, then its bands are scaled to the energies of the mel. The
// first step is extrapolated (Perraudin, Balazs, Sondergaard 2013). Frame by frame the scaled
// spectrum goes straight into the next signal, so that no whole spectrum is ever stored.

import { emptySpectrum } from "./stft.js";

const MAX_GAIN = 2; // nepers; largest change of a bin in one iteration

/** The mel filters in the two directions in which they are applied, without their zeros. */
export class Bands {
  /**
   * @param {Float32Array} filters from magnitudes to mel amplitudes, [nMels, bins].
   * @param {number} nMels bands.
   * @param {Iterable<number>} ends smallest and largest amplitude that the mel tells.
   */
  constructor(filters, nMels, ends) {
    this.nMels = nMels;
    [this.low, this.high] = ends;
    const bins = filters.length / nMels;
    const first = [0];
    const band = [];
    const weight = [];
    const share = [];
    this.covered = 0; // bins above the last band stay as they are
    for (let k = 0; k < bins; k++) {
      let sum = 0;
      for (let b = 0; b < nMels; b++) sum += filters[b * bins + k];
      for (let b = 0; b < nMels; b++) {
        const value = filters[b * bins + k];
        if (value === 0) continue;
        band.push(b);
        weight.push(value);
        share.push(value / Math.max(sum, 1e-8));
      }
      first.push(band.length);
      if (sum > 0) this.covered = k + 1;
    }
    this.first = Uint32Array.from(first); // of the entries of bin k: first[k] .. first[k + 1] - 1
    this.band = Uint32Array.from(band);
    this.weight = Float64Array.from(weight);
    this.share = Float64Array.from(share);
    this.change = new Float64Array(nMels);
  }

  /** Scale one frame's spectrum re, im [bins], in place, to log-amplitudes wanted[at ...]. */
  scale(re, im, wanted, at) {
    const { first, band, weight, share, change, covered, nMels, low, high } = this;
    change.fill(0);
    for (let k = 0; k < covered; k++) {
      const magnitude = Math.sqrt(re[k] * re[k] + im[k] * im[k] + 1e-20);
      for (let i = first[k]; i < first[k + 1]; i++) change[band[i]] += magnitude * weight[i];
    }
    for (let b = 0; b < nMels; b++) {
      const nepers = wanted[at + b] - Math.log(Math.min(Math.max(change[b], low), high));
      change[b] = Math.min(Math.max(nepers, -MAX_GAIN), MAX_GAIN);
    }
    for (let k = 0; k < covered; k++) {
      let nepers = 0;
      for (let i = first[k]; i < first[k + 1]; i++) nepers += change[band[i]] * share[i];
      const gain = Math.exp(nepers);
      re[k] *= gain;
      im[k] *= gain;
    }
  }
}

/** Iterations on one stretch of a signal. */
export class MelConsistency {
  /**
   * @param {STFT} stft of the mel's frames and window.
   * @param {Bands} bands of the mel.
   * @param {object} spectrum where to begin, [frames, bins].
   * @param {Float32Array} wanted logarithms of the mel's amplitudes, [frames, nMels].
   * @param {number} momentum how far a signal is extrapolated, in units of the last change.
   */
  constructor(stft, bands, spectrum, wanted, momentum) {
    Object.assign(this, { stft, bands, wanted, momentum });
    this.frames = spectrum.re.length / stft.bins;
    this.norm = stft.norm(this.frames);
    this.signal = stft.inverse(spectrum);
    this.last = null;
    this.ahead = new Float64Array(this.signal.length);
  }

  /**
   * One iteration; `signal` is then the wave after it.
   *
   * @param {boolean} recorded whether the spectrum in which it ends is wanted.
   * @returns {object | null} that spectrum, [frames, bins].
   */
  iterate(recorded = false) {
    const { stft, bands, wanted, frames, norm, ahead, signal, momentum } = this;
    const { bins, hop } = stft;
    // The transform is linear: extrapolating signals, not spectra, is less work.
    for (let n = 0; n < ahead.length; n++) {
      ahead[n] = this.last ? signal[n] + momentum * (signal[n] - this.last[n]) : signal[n];
    }
    const next = (this.last ?? new Float64Array(signal.length)).fill(0);
    const spectrum = recorded ? emptySpectrum(frames, bins) : null;
    const re = new Float64Array(bins);
    const im = new Float64Array(bins);
    for (let frame = 0; frame < frames; frame++) {
      stft.analyseFrame(ahead, frame * hop, re, im);
      bands.scale(re, im, wanted, frame * bands.nMels);
      spectrum?.re.set(re, frame * bins);
      spectrum?.im.set(im, frame * bins);
      stft.addFrame(re, im, next, frame * hop);
    }
    for (let n = 0; n < next.length; n++) next[n] *= norm[n];
    this.last = signal;
    this.signal = next;
    return spectrum;
  }
}
