// Arrays of floating-point numbers as NumPy stores them (.npy, format 1 to 3).

import { InputError } from "./errors.js";

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // "\x93NUMPY"
const READERS = {
  f2: (view, at, little) => halfToFloat(view.getUint16(at, little)),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
};

/**
 * @param {ArrayBuffer} buffer the file.
 * @returns {{shape: number[], data: Float32Array}} values in C order, whatever the file's is.
 * @throws {InputError} for what is no .npy, is truncated, or holds no floating-point numbers.
 */
export function readNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  if (!MAGIC.every((byte, i) => bytes[i] === byte))
    throw new InputError("This is not a .npy file.");
  const { header, begin } = readHeader(buffer);
  const type = /'descr'\s*:\s*'([<>=|]?)([a-zA-Z]\d*)'/.exec(header);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header);
  const axes = /'shape'\s*:\s*\(([\d\s,]*)\)/.exec(header);
  if (!order || !axes || !/'descr'/.test(header)) {
    throw new InputError("The .npy file is damaged: its header cannot be read.");
  }
  if (!type || !(type[2] in READERS)) {
    throw new InputError(
      "The .npy file must hold floating-point numbers of 16, 32 or 64 bits" +
        (type ? `, not of the type ${type[2]}.` : "."),
    );
  }
  const shape = axes[1]
    .split(",")
    .filter((text) => text.trim())
    .map(Number);
  const count = shape.reduce((product, size) => product * size, 1);
  const width = Number(type[2][1]);
  if (!(count * width <= bytes.length - begin)) {
    throw new InputError(
      `The .npy file is truncated: of ${count} numbers it holds ` +
        `${Math.max(0, Math.floor((bytes.length - begin) / width))}.`,
    );
  }
  const read = READERS[type[2]];
  const view = new DataView(buffer, begin);
  const data = new Float32Array(count);
  for (let i = 0; i < count; i++) data[i] = read(view, i * width, type[1] !== ">");
  return { shape, data: order[1] === "True" ? inCOrder(data, shape) : data };
}

function readHeader(buffer) {
  const view = new DataView(buffer);
  const damaged = new InputError("The .npy file is damaged: its header is cut off.");
  if (buffer.byteLength < 12) throw damaged;
  const short = view.getUint8(6) === 1;
  const length = short ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = short ? 10 : 12;
  if (start + length > buffer.byteLength) throw damaged;
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, start, length));
  return { header, begin: start + length };
}

function inCOrder(data, shape) {
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((p, size) => p * size, 1));
  return data.map((_, place) => {
    let from = 0;
    for (let axis = shape.length - 1, rest = place; axis >= 0; axis--) {
      from += (rest % shape[axis]) * strides[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    return data[from];
  });
}

function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
