// Stretches of an utterance with the context that each depends on: diffwave/dsp/chunks.py.

/** Stretches of frames to generate, { first, last } with `context` around { start, end }. */
export function chunks(frames, chunkFrames, context) {
  const found = [];
  for (let start = 0; start < frames; start += chunkFrames) {
    const end = Math.min(start + chunkFrames, frames);
    const first = Math.max(0, start - context);
    found.push({ start, end, first, last: Math.min(frames, end + context) });
  }
  return found;
}

/** Frames on each side of a frame that its samples depend on. */
export function reach(receptiveField, steps, nIter, nFft, hop) {
  return steps * receptiveField + 1 + (nIter + 1) * Math.ceil(nFft / hop);
}

/** Frames first .. last - 1 of values [rows, frames]. */
export function columns(values, rows, first, last) {
  const frames = values.length / rows;
  if (first === 0 && last === frames) return values;
  const piece = new values.constructor(rows * (last - first));
  for (let row = 0; row < rows; row++) {
    const at = row * frames;
    piece.set(values.subarray(at + first, at + last), row * (last - first));
  }
  return piece;
}
