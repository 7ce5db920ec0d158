// The vocoder: diffwave/onnx/runtime.py in JavaScript. The same chain, the same noise and pulses at
// every position, and so the same wave up to rounding.

import { SAMPLERS, alphaBarOf, angleOf, sample, x0FromEps, x0FromV } from "./chain.js";
import { chunks, columns, reach } from "./chunks.js";
import { Bands, MelConsistency } from "./consistency.js";
import { InputError } from "./errors.js";
import { noiseSamples } from "./noise.js";
import { pulseTimes, pulseTrain, shapedSource, transposed } from "./source.js";
import { STFT, emptySpectrum } from "./stft.js";

const FORMAT = 1; // of the folder
const CHUNK_FRAMES = 1024; // generated at a time, as in Python
const MAX_ITERATIONS = 10000;

/** A voice that `diffwave export --onnx` made: log-mel in, samples out. */
export class Vocoder {
  /**
   * @param {object} about the voice's onnx.json.
   * @param {object} constants `filters`, `ends`, `share_weights` as { shape, data }.
   * @param {Graphs} graphs its networks.
   */
  constructor(about, constants, graphs) {
    if (about.format !== FORMAT) {
      throw new InputError("The voice is of another format than this page reads.");
    }
    const { mel, space, diffusion, sampling } = about.model;
    this.mel = mel;
    this.sampleRate = mel.sample_rate;
    this.hop = mel.hop_length;
    this.space = space;
    this.fields = about.receptive_field;
    this.sampling = sampling;
    this.x0Of = diffusion.prediction === "v" ? x0FromV : x0FromEps;
    this.stft = new STFT(space.n_fft, this.hop);
    this.filters = constants.filters.data;
    this.bands = new Bands(this.filters, mel.n_mels, constants.ends.data);
    this.shareWeights = constants.share_weights?.data ?? null;
    this.graphs = graphs;
  }

  get hasSource() {
    return "source" in this.fields;
  }

  get hasEnhancer() {
    return "enhancer" in this.fields;
  }

  /** Solver, iterations and levels of so many steps, as the voice was tuned. */
  preset(steps) {
    const { solver, n_iter: nIter, presets } = this.sampling;
    const found = { solver, nIter, levels: [] };
    const tuned = presets.find((preset) => preset.steps === steps);
    if (tuned)
      Object.assign(found, { solver: tuned.solver, nIter: tuned.n_iter, levels: tuned.levels });
    if (!found.levels.length) {
      found.levels = Array.from({ length: steps }, (_, i) => (steps - i) / steps);
    }
    return found;
  }

  /**
   * Speech for a mel-spectrogram.
   *
   * @param {Float32Array} mel [nMels, frames], see checkedMel.
   * @param {object} options steps, nIter (null: the preset's), seed (bigint), enhance, transpose
   *   (semitones).
   * @param {object} watch all optional: `state(stage, spectrum, piece)` is called with the state of
   *   the chain as a spectrum [frames, bins] of the frames piece.first .. piece.last - 1: stage 0
   *   is the source, 1 .. steps the estimate after a network step, steps + 1 the iterations;
   *   `wants(iteration, nIter)` says which iterations are shown; `progress(part)` with what is
   *   done, 0 to 1; `breathe()` is awaited between iterations and may throw.
   * @returns {Promise<Float32Array>} [frames * hop]
   */
  async generate(mel, options, watch = {}) {
    const { steps, seed, transpose = 0 } = options;
    const preset = this.preset(steps);
    const nIter = options.nIter ?? preset.nIter;
    if (!(nIter >= 0 && nIter <= MAX_ITERATIONS)) {
      throw new InputError(`The iterations are 0 to ${MAX_ITERATIONS}, not ${nIter}.`);
    }
    if (transpose && !this.hasSource) {
      throw new InputError("This voice has no source: its pitch cannot be transposed.");
    }
    const frames = mel.length / this.mel.n_mels;
    if (options.enhance && this.hasEnhancer) mel = await this.enhanced(mel, frames);
    const source = this.hasSource ? await this.source(mel, frames, transpose) : null;
    const context = reach(this.fields.network, steps, nIter, this.stft.nFft, this.hop);
    const wave = new Float32Array(frames * this.hop);
    const pieces = chunks(frames, CHUNK_FRAMES, context);
    for (const [index, piece] of pieces.entries()) {
      const progress = (part) => watch.progress?.((index + part) / pieces.length);
      const settings = { ...preset, steps, nIter, seed };
      const signal = await this.piece(mel, source, piece, settings, { ...watch, progress });
      const start = this.space.pad_left + (piece.start - piece.first) * this.hop;
      const length = (piece.end - piece.start) * this.hop;
      wave.set(signal.subarray(start, start + length), piece.start * this.hop);
    }
    return wave;
  }

  // The mel after the enhancer.
  async enhanced(mel, frames) {
    const { n_mels: nMels } = this.mel;
    const found = new Float32Array(mel.length);
    for (const piece of chunks(frames, CHUNK_FRAMES, this.fields.enhancer)) {
      const { enhanced } = await this.graphs.run("enhancer", { mel: this.melOf(mel, piece) });
      const width = piece.last - piece.first;
      for (let band = 0; band < nMels; band++) {
        const from = band * width - piece.first;
        found.set(
          enhanced.subarray(from + piece.start, from + piece.end),
          band * frames + piece.start,
        );
      }
    }
    return found;
  }

  // F0 and voicing of every frame, and the pulses that follow from them.
  async source(mel, frames, transpose) {
    const { n_fft: nFft, pad_left: padLeft } = this.space;
    const bands = this.shareWeights.length / (nFft / 2);
    const f0 = new Float32Array(frames);
    const voiced = new Uint8Array(frames);
    const share = new Float32Array(frames * bands);
    for (const piece of chunks(frames, CHUNK_FRAMES, this.fields.source)) {
      const found = await this.graphs.run("source", { mel: this.melOf(mel, piece) });
      const [from, to] = [piece.start - piece.first, piece.end - piece.first];
      f0.set(found.f0.subarray(from, to), piece.start);
      voiced.set(found.voiced.subarray(from, to), piece.start);
      share.set(found.share.subarray(from * bands, to * bands), piece.start * bands);
    }
    const hz = transpose ? transposed(f0, transpose) : f0;
    const pulses = pulseTimes(hz, voiced, this.sampleRate, this.hop, nFft / 2 - padLeft);
    return { pulses, share, bands };
  }

  melOf(mel, piece) {
    const { n_mels: nMels } = this.mel;
    const values = columns(mel, nMels, piece.first, piece.last);
    return [values, [1, nMels, piece.last - piece.first]];
  }

  // The samples of the frames piece.first .. piece.last - 1, with those around them.
  async piece(mel, source, piece, settings, watch) {
    const { steps, nIter, seed, solver } = settings;
    const { stft, graphs } = this;
    const frames = piece.last - piece.first;
    const bins = stft.bins - 1; // the space has no Nyquist bin
    const start = piece.first * this.hop - this.space.pad_left;
    const length = stft.samples(frames);
    const given = await graphs.run("condition", { mel: this.melOf(mel, piece) });
    const logEnvelope = given.log_envelope;
    const envelope = logEnvelope.map(Math.exp);
    let mean = null;
    let deviation = envelope;
    const inputs = { cond: [given.cond, [1, frames, given.cond.length / frames]] };
    if (source) {
      const { bands, share } = source;
      ({ mean, deviation } = shapedSource(
        stft.fft,
        stft.analyse(pulseTrain(source.pulses, start, length)),
        share.subarray(piece.first * bands, piece.last * bands),
        this.shareWeights,
        logEnvelope,
        this.space.least_noise,
      ));
      inputs.mean = [mean, [1, frames, 2, bins]];
      inputs.deviation = [deviation, [1, frames, 1, bins]];
      inputs.envelope = [envelope, [1, frames, 1, bins]];
    }
    const whole = (state) => spectrumOf(state, mean, deviation, frames, bins);
    const noise = (stream) => {
      return stateOf(stft.analyse(noiseSamples(seed, stream, start, length)), frames, bins);
    };
    const steady = nIter + 4 * steps; // what a step costs beside an iteration, roughly
    const denoise = async (x, alphaBar, i) => {
      if (i === 0) watch.state?.(0, whole(x), piece);
      watch.progress((4 * i) / steady);
      await watch.breathe?.();
      const t = [Float32Array.of(angleOf(alphaBar)), [1]];
      const feeds = { x: [x, [1, frames, 2, bins]], t, ...inputs };
      const x0 = this.x0Of(x, (await graphs.run("step", feeds)).prediction, alphaBar);
      watch.state?.(i + 1, whole(x0), piece);
      await watch.breathe?.();
      return x0;
    };
    // Stream 0 is where the chain starts; step i of a sampler that adds noise draws i + 1.
    const levels = settings.levels.map(alphaBarOf);
    const step = SAMPLERS[solver];
    const last = await sample(step, denoise, noise(0), levels, (i) => noise(i + 1));
    return this.consistent(whole(last), given.band_levels, { steps, nIter, steady }, piece, watch);
  }

  // The iterations, and the wave after them.
  async consistent(spectrum, levels, { steps, nIter, steady }, piece, watch) {
    const { stft, bands, space } = this;
    const iterations = new MelConsistency(stft, bands, spectrum, levels, space.momentum);
    if (nIter === 0) watch.state?.(steps + 1, spectrum, piece);
    for (let i = 1; i <= nIter; i++) {
      const shown = i === nIter || (watch.wants?.(i, nIter) ?? false);
      const found = iterations.iterate(shown && watch.state !== undefined);
      if (found) watch.state(steps + 1, found, piece);
      watch.progress((4 * steps + i) / steady);
      await watch.breathe?.();
    }
    return Float32Array.from(iterations.signal);
  }
}

// Coordinates [frames, 2, bins] of a spectrum [frames, bins + 1]: all bins but Nyquist.
function stateOf({ re, im }, frames, bins) {
  const state = new Float32Array(2 * frames * bins);
  for (let frame = 0; frame < frames; frame++) {
    const at = frame * (bins + 1);
    state.set(re.subarray(at, at + bins), 2 * frame * bins);
    state.set(im.subarray(at, at + bins), (2 * frame + 1) * bins);
  }
  return state;
}

// The spectrum of a whitened state: state * deviation + mean, Nyquist 0.
function spectrumOf(state, mean, deviation, frames, bins) {
  const spectrum = emptySpectrum(frames, bins + 1);
  for (let frame = 0; frame < frames; frame++) {
    for (let k = 0; k < bins; k++) {
      const real = 2 * frame * bins + k;
      const imaginary = real + bins;
      const scale = deviation[frame * bins + k];
      const to = frame * (bins + 1) + k;
      spectrum.re[to] = state[real] * scale + (mean ? mean[real] : 0);
      spectrum.im[to] = state[imaginary] * scale + (mean ? mean[imaginary] : 0);
    }
  }
  return spectrum;
}
