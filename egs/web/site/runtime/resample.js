// Resampling by a windowed sinc, and the sample rate of an audio file.

const ZEROS = 48; // crossings of the sinc on each side
const STEPS = 512; // entries of its table from one crossing to the next
const BETA = 10; // of the Kaiser window: 100 dB
const PASSED = 0.95; // of the lower of the two bandwidths

/** A wave at another sample rate, [ceil(length * to / from)]. */
export function resampled(wave, from, to) {
  if (from === to) return wave;
  const cutoff = PASSED * Math.min(1, to / from); // in units of half the rate of the wave
  const reach = ZEROS / cutoff;
  const table = kernel();
  const result = new Float32Array(Math.ceil((wave.length * to) / from));
  for (let i = 0; i < result.length; i++) {
    const centre = (i * from) / to;
    const first = Math.max(0, Math.ceil(centre - reach));
    const last = Math.min(wave.length - 1, Math.floor(centre + reach));
    let sum = 0;
    for (let n = first; n <= last; n++) {
      const place = Math.abs(n - centre) * cutoff * STEPS;
      const entry = Math.floor(place);
      const between = place - entry;
      sum += wave[n] * (table[entry] + between * (table[entry + 1] - table[entry]));
    }
    result[i] = sum * cutoff;
  }
  return result;
}

function kernel() {
  return Float64Array.from({ length: ZEROS * STEPS + 2 }, (_, entry) => {
    const x = entry / STEPS;
    if (x >= ZEROS) return 0;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return (sinc * bessel0(BETA * Math.sqrt(1 - (x / ZEROS) ** 2))) / bessel0(BETA);
  });
}

// The modified Bessel function of the first kind and order zero, by its power series.
function bessel0(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-16 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * The sample rate that the header of a wav, FLAC or Ogg file states, in Hz; null of other files.
 *
 * A browser decodes to a rate that it is told; told the file's own, it does not resample.
 */
export function statedRate(buffer) {
  const view = new DataView(buffer);
  const tag = (at) =>
    at + 4 <= view.byteLength ? String.fromCharCode(...new Uint8Array(buffer, at, 4)) : "";
  if (tag(0) === "RIFF" && tag(8) === "WAVE") {
    for (let at = 12; at + 16 <= view.byteLength;) {
      if (tag(at) === "fmt ") return view.getUint32(at + 12, true);
      const size = view.getUint32(at + 4, true);
      at += 8 + size + (size % 2);
    }
  }
  if (tag(0) === "fLaC" && view.byteLength >= 21) return view.getUint32(18) >>> 12;
  if (tag(0) === "OggS" && view.byteLength > 27) {
    const at = 27 + view.getUint8(26); // of the first packet
    if (tag(at) === "Opus") return 48000;
    if (tag(at + 1) === "vorb" && at + 16 <= view.byteLength) return view.getUint32(at + 12, true);
  }
  return null;
}
