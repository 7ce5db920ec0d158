// White noise addressed by its absolute position: the numbers of diffwave/chain/noise.py.
//
// Those are NumPy's: Philox 4x64-10 (Salmon, Moraes, Dror, Shaw 2011) in 32-bit halves, and the
// ziggurat of Marsaglia and Tsang (2000) with 256 layers in single precision.

const BLOCK = 8192; // samples drawn together
const ORIGIN = 1n << 32n; // block number of sample 0; positions may be negative
const ROUNDS = 10;

/**
 * Samples start .. start + length - 1 of a unit Gaussian white noise.
 *
 * @param {bigint} seed any integer.
 * @param {number} stream independent noise under the same seed.
 * @param {number} start absolute position of the first sample; may be negative.
 * @param {number} length number of samples.
 * @returns {Float32Array} [length]
 */
export function noiseSamples(seed, stream, start, length) {
  const first = Math.floor(start / BLOCK);
  const last = Math.floor((start + length - 1) / BLOCK);
  const samples = new Float32Array((last - first + 1) * BLOCK);
  for (let number = first; number <= last; number++) {
    const place = (number - first) * BLOCK;
    const generator = new Philox(
      [BigInt.asUintN(64, seed), BigInt.asUintN(64, BigInt(stream))],
      [0n, ORIGIN + BigInt(number), 0n, 0n],
    );
    fillNormal(generator, samples.subarray(place, place + BLOCK));
  }
  const skipped = start - first * BLOCK;
  return samples.slice(skipped, skipped + length);
}

/** The counter-based generator Philox 4x64-10: 32 bits at a time. */
export class Philox {
  /**
   * @param {bigint[]} key two words of 64 bits.
   * @param {bigint[]} counter four words of 64 bits; the first block is that of counter + 1.
   */
  constructor(key, counter) {
    this.key = halves(key);
    this.counter = halves(counter);
    this.block = new Uint32Array(8);
    this.used = 8;
  }

  /** The next 32 bits, the lower half of each word first. */
  next() {
    if (this.used === 8) {
      const { counter } = this;
      for (let i = 0; i < 8; i++) {
        counter[i]++;
        if (counter[i] !== 0) break;
      }
      philox(counter, this.key, this.block);
      this.used = 0;
    }
    return this.block[this.used++];
  }

  /** A number in [0, 1) of 24 bits. */
  nextFloat() {
    return (this.next() >>> 8) / 16777216;
  }
}

function halves(words) {
  return Uint32Array.from(
    words.flatMap((word) => [Number(word & 0xffffffffn), Number(word >> 32n)]),
  );
}

// The constants of Philox 4x64, each as its lower and its upper half.
const M0_LOW = 0xe14c6c93,
  M0_HIGH = 0xd2e7470e;
const M1_LOW = 0x95121157,
  M1_HIGH = 0xca5a8263;
const W0_LOW = 0x7f4a7c15,
  W0_HIGH = 0x9e3779b9;
const W1_LOW = 0x84caa73b,
  W1_HIGH = 0xbb67ae85;

// The block of a counter under a key, all as halves of words.
function philox(counter, key, block) {
  let [k0, k1, k2, k3] = key;
  let [a0, a1, b0, b1, c0, c1, d0, d1] = counter;
  for (let round = 0; round < ROUNDS; round++) {
    multiply(M0_LOW, M0_HIGH, a0, a1);
    const p0 = product[0];
    const p1 = product[1];
    const p2 = product[2];
    const p3 = product[3];
    multiply(M1_LOW, M1_HIGH, c0, c1);
    a0 = (product[2] ^ b0 ^ k0) >>> 0;
    a1 = (product[3] ^ b1 ^ k1) >>> 0;
    b0 = product[0];
    b1 = product[1];
    c0 = (p2 ^ d0 ^ k2) >>> 0;
    c1 = (p3 ^ d1 ^ k3) >>> 0;
    d0 = p0;
    d1 = p1;
    // The key of the next round: carries go from lower to upper halves.
    k1 = (k1 + W0_HIGH + (k0 + W0_LOW > 0xffffffff ? 1 : 0)) >>> 0;
    k0 = (k0 + W0_LOW) >>> 0;
    k3 = (k3 + W1_HIGH + (k2 + W1_LOW > 0xffffffff ? 1 : 0)) >>> 0;
    k2 = (k2 + W1_LOW) >>> 0;
  }
  block[0] = a0;
  block[1] = a1;
  block[2] = b0;
  block[3] = b1;
  block[4] = c0;
  block[5] = c1;
  block[6] = d0;
  block[7] = d1;
}

const product = new Uint32Array(4);

// All 128 bits of a product of two 64-bit words, into `product`, lowest half first.
function multiply(aLow, aHigh, bLow, bHigh) {
  const low = multiply32(aLow, bLow);
  product[0] = low;
  const lowHigh = upper;
  const cross = multiply32(aLow, bHigh);
  const crossHigh = upper;
  const other = multiply32(aHigh, bLow);
  const otherHigh = upper;
  const high = multiply32(aHigh, bHigh);
  const highHigh = upper;
  const middle = lowHigh + cross + other;
  const top = crossHigh + otherHigh + high + Math.floor(middle / 4294967296);
  product[1] = middle;
  product[2] = top;
  product[3] = highHigh + Math.floor(top / 4294967296);
}

let upper = 0;

// The lower 32 bits of a product of two 32-bit words; the upper ones are left in `upper`.
function multiply32(a, b) {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  upper = aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(other / 65536);
  return Math.imul(a, b) >>> 0;
}

const LAYERS = 256;
const TAIL = 3.6541528853610088; // where the lowest layer ends
const AREA = 4.92867323399e-3; // of every layer
const SCALE = 2 ** 23; // of the integers that a sample is made of

// Of every layer: the largest integer that lies under the curve with all of its layer (k), the
// width of an integer (w), the height of the curve (f).
const { k: INSIDE, w: WIDTH, f: HEIGHT } = ziggurat();

function ziggurat() {
  const k = new Uint32Array(LAYERS);
  const w = new Float32Array(LAYERS);
  const f = new Float32Array(LAYERS);
  const density = (x) => Math.exp(-0.5 * x * x);
  let x = TAIL;
  k[0] = Math.round((x * density(x) * SCALE) / AREA);
  w[0] = AREA / density(x) / SCALE;
  f[0] = 1;
  w[LAYERS - 1] = x / SCALE;
  f[LAYERS - 1] = density(x);
  for (let i = LAYERS - 2; i > 0; i--) {
    const above = Math.sqrt(-2 * Math.log(AREA / x + density(x)));
    k[i + 1] = Math.round((above / x) * SCALE);
    x = above;
    w[i] = x / SCALE;
    f[i] = density(x);
  }
  return { k, w, f };
}

function fillNormal(generator, samples) {
  for (let i = 0; i < samples.length; i++) samples[i] = nextNormal(generator);
}

function nextNormal(generator) {
  for (;;) {
    const bits = generator.next();
    const layer = bits & 0xff;
    const negative = (bits & 0x100) !== 0;
    const integer = bits >>> 9;
    const x = Math.fround(integer * WIDTH[layer]);
    if (integer < INSIDE[layer]) return negative ? -x : x;
    if (layer === 0) return beyond(generator, (integer & 0x100) !== 0);
    const step = Math.fround(HEIGHT[layer - 1] - HEIGHT[layer]);
    const height = Math.fround(Math.fround(step * generator.nextFloat()) + HEIGHT[layer]);
    if (height < Math.exp(-0.5 * x * x)) return negative ? -x : x;
  }
}

// A sample of the tail.
function beyond(generator, negative) {
  const inverse = Math.fround(1 / TAIL);
  for (;;) {
    const x = Math.fround(-inverse * log1p(-generator.nextFloat()));
    const y = -log1p(-generator.nextFloat());
    if (Math.fround(y + y) > Math.fround(x * x)) {
      const sample = Math.fround(Math.fround(TAIL) + x);
      return negative ? -sample : sample;
    }
  }
}

function log1p(x) {
  return Math.fround(Math.log1p(x));
}
