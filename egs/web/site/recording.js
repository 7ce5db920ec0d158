// What a user gives: a .npy as its bytes, a recording as samples.

import { InputError } from "./runtime/errors.js";
import { statedRate } from "./runtime/resample.js";

const MAX_MIB = 200;
const USUAL_RATE = 48000; // Hz, of files that do not state one

/**
 * @param {File | Blob} file with a `name`.
 * @returns {Promise<object>} { npy: ArrayBuffer } or { samples: Float32Array, rate }.
 * @throws {InputError} for what is neither.
 */
export async function readGiven(file) {
  if (file.size > MAX_MIB * 2 ** 20) {
    throw new InputError(`${file.name} is larger than the ${MAX_MIB} MiB that this page takes.`);
  }
  if (file.size === 0) throw new InputError(`${file.name} is empty.`);
  const buffer = await file.arrayBuffer().catch(() => {
    throw new InputError(`${file.name} cannot be read.`);
  });
  if (/\.npy$/i.test(file.name)) return { npy: buffer };
  const rate = statedRate(buffer);
  let audio;
  try {
    audio = await decoded(buffer, rate ?? USUAL_RATE);
  } catch {
    throw new InputError(
      `${file.name} is neither a .npy nor a recording that this browser decodes.`,
    );
  }
  const samples = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const values = audio.getChannelData(channel);
    for (let n = 0; n < samples.length; n++) samples[n] += values[n] / audio.numberOfChannels;
  }
  return { samples, rate: audio.sampleRate };
}

// A context of the file's own rate does not resample; not every browser has one of every rate.
async function decoded(buffer, rate) {
  let context;
  try {
    context = new OfflineAudioContext(1, 1, rate);
  } catch {
    context = new OfflineAudioContext(1, 1, USUAL_RATE);
  }
  return context.decodeAudioData(buffer);
}
