// The discrete Fourier transform of real signals whose length is a power of two.

/** X[k] = sum_n x[n] exp(-2 pi i k n / size) for k = 0 .. size / 2, and its inverse. */
export class RealFFT {
  /**
   * @param {number} size a power of two, 8 at least.
   */
  constructor(size) {
    if (size < 8 || (size & (size - 1)) !== 0) {
      throw new RangeError(`A transform has a power of two of samples, not ${size}.`);
    }
    this.size = size;
    this.half = size / 2;
    this.reversed = bitReversal(this.half);
    this.passes = radix4Passes(this.half);
    this.re = new Float64Array(this.half);
    this.im = new Float64Array(this.half);
    // exp(-2 pi i k / size), which takes the half-size complex transform to the real one.
    this.cos = Float64Array.from({ length: this.half }, (_, k) =>
      Math.cos((2 * Math.PI * k) / size),
    );
    this.sin = Float64Array.from(
      { length: this.half },
      (_, k) => -Math.sin((2 * Math.PI * k) / size),
    );
  }

  /** The transform of x [size] in outRe and outIm [size / 2 + 1]. */
  forward(x, outRe, outIm) {
    const { half, reversed, re, im, cos, sin } = this;
    // Even samples are the real parts of a complex signal, odd ones its imaginary parts.
    for (let n = 0; n < half; n++) {
      const to = reversed[n];
      re[to] = x[2 * n];
      im[to] = x[2 * n + 1];
    }
    transform(re, im, this.passes);
    outRe[0] = re[0] + im[0];
    outIm[0] = 0;
    outRe[half] = re[0] - im[0];
    outIm[half] = 0;
    for (let k = 1; k <= half / 2; k++) {
      const j = half - k;
      // Transforms of the even and of the odd samples, at k.
      const evenRe = 0.5 * (re[k] + re[j]);
      const evenIm = 0.5 * (im[k] - im[j]);
      const oddRe = 0.5 * (im[k] + im[j]);
      const oddIm = 0.5 * (re[j] - re[k]);
      const turnedRe = cos[k] * oddRe - sin[k] * oddIm;
      const turnedIm = cos[k] * oddIm + sin[k] * oddRe;
      outRe[k] = evenRe + turnedRe;
      outIm[k] = evenIm + turnedIm;
      outRe[j] = evenRe - turnedRe;
      outIm[j] = turnedIm - evenIm;
    }
  }

  /** The signal x [size] whose transform is inRe + i inIm [size / 2 + 1]. */
  inverse(inRe, inIm, x) {
    const { half, reversed, re, im, cos, sin } = this;
    const scale = 0.5 / half;
    // The imaginary parts at 0 and at the Nyquist frequency belong to no real signal.
    re[0] = (inRe[0] + inRe[half]) * scale;
    im[0] = -(inRe[0] - inRe[half]) * scale;
    for (let k = 1; k <= half / 2; k++) {
      const j = half - k;
      const evenRe = inRe[k] + inRe[j];
      const evenIm = inIm[k] - inIm[j];
      const turnedRe = inRe[k] - inRe[j];
      const turnedIm = inIm[k] + inIm[j];
      const oddRe = cos[k] * turnedRe + sin[k] * turnedIm;
      const oddIm = cos[k] * turnedIm - sin[k] * turnedRe;
      // Conjugated on the way in and out, the forward transform is the inverse one.
      const toK = reversed[k];
      const toJ = reversed[j];
      re[toK] = (evenRe - oddIm) * scale;
      im[toK] = -(evenIm + oddRe) * scale;
      re[toJ] = (evenRe + oddIm) * scale;
      im[toJ] = -(oddRe - evenIm) * scale;
    }
    transform(re, im, this.passes);
    for (let n = 0; n < half; n++) {
      x[2 * n] = re[n];
      x[2 * n + 1] = -im[n];
    }
  }
}

function bitReversal(size) {
  const bits = Math.log2(size);
  return Uint32Array.from({ length: size }, (_, n) => {
    let reversed = 0;
    for (let bit = 0; bit < bits; bit++) reversed |= ((n >> bit) & 1) << (bits - 1 - bit);
    return reversed;
  });
}

// Twiddle factors of every pass: blocks of `length` become blocks of four times that.
function radix4Passes(size) {
  const passes = [];
  let length = Math.log2(size) % 2 ? 2 : 1;
  for (; length < size; length *= 4) {
    const twiddles = new Float64Array(6 * length);
    for (let j = 0; j < length; j++) {
      for (let power = 1; power <= 3; power++) {
        const angle = (-2 * Math.PI * j * power) / (4 * length);
        twiddles[6 * j + 2 * power - 2] = Math.cos(angle);
        twiddles[6 * j + 2 * power - 1] = Math.sin(angle);
      }
    }
    passes.push({ length, twiddles });
  }
  return passes;
}

// Decimation in time of a complex signal in bit-reversed order, in place: two radix-2 stages at a
// time, after one alone where their number is odd.
function transform(re, im, passes) {
  const size = re.length;
  if (passes[0].length === 2) {
    for (let n = 0; n < size; n += 2) {
      const a = re[n];
      const b = im[n];
      re[n] = a + re[n + 1];
      im[n] = b + im[n + 1];
      re[n + 1] = a - re[n + 1];
      im[n + 1] = b - im[n + 1];
    }
  }
  for (let pass = 0; pass < passes.length; pass++) {
    const { length, twiddles } = passes[pass];
    for (let block = 0; block < size; block += 4 * length) {
      for (let j = 0, w = 0; j < length; j++, w += 6) {
        const i0 = block + j;
        const i1 = i0 + length;
        const i2 = i1 + length;
        const i3 = i2 + length;
        // Block 1 holds the residues 2 modulo 4, block 2 the residues 1.
        const bRe = twiddles[w + 2] * re[i1] - twiddles[w + 3] * im[i1];
        const bIm = twiddles[w + 2] * im[i1] + twiddles[w + 3] * re[i1];
        const cRe = twiddles[w] * re[i2] - twiddles[w + 1] * im[i2];
        const cIm = twiddles[w] * im[i2] + twiddles[w + 1] * re[i2];
        const dRe = twiddles[w + 4] * re[i3] - twiddles[w + 5] * im[i3];
        const dIm = twiddles[w + 4] * im[i3] + twiddles[w + 5] * re[i3];
        const eRe = re[i0] + bRe;
        const eIm = im[i0] + bIm;
        const fRe = re[i0] - bRe;
        const fIm = im[i0] - bIm;
        const gRe = cRe + dRe;
        const gIm = cIm + dIm;
        const hRe = cRe - dRe;
        const hIm = cIm - dIm;
        re[i0] = eRe + gRe;
        im[i0] = eIm + gIm;
        re[i1] = fRe + hIm;
        im[i1] = fIm - hRe;
        re[i2] = eRe - gRe;
        im[i2] = eIm - gIm;
        re[i3] = fRe - hIm;
        im[i3] = fIm + hRe;
      }
    }
  }
}
