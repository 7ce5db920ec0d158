// Spectra as levels that a picture shows: one byte for each frame and bin.

export const LOWEST_DB = -120; // relative to a sine at full scale, of level 0
export const STEPS_PER_DB = 2;
const SINE = 22.3; // dB of a full-scale sine in a transform in which unit white noise has 0 dB

/**
 * Levels of the frames from .. to - 1 of a spectrum [frames, bins], without its Nyquist bin.
 *
 * @returns {Uint8Array} [to - from, bins - 1]
 */
export function levelsOf({ re, im }, bins, from, to) {
  const levels = new Uint8Array((to - from) * (bins - 1));
  for (let frame = from, at = 0; frame < to; frame++) {
    for (let k = frame * bins; k < (frame + 1) * bins - 1; k++) {
      const db = 10 * Math.log10(re[k] * re[k] + im[k] * im[k] + 1e-20) - SINE;
      levels[at++] = Math.min(Math.max(STEPS_PER_DB * (db - LOWEST_DB), 0), 255);
    }
  }
  return levels;
}
