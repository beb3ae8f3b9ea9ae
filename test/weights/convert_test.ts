import assert from "node:assert/strict";
import { halfBits, toFloat, toHalf } from "../../src/weights/convert.ts";
import { bytesOf } from "./make.ts";

const all16 = Uint16Array.from({ length: 65536 }, (_, i) => i);
const all8 = Uint8Array.from({ length: 256 }, (_, i) => i);

/** As stored in float32's upper half. */
function bfloat(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
}

/** IEEE 754's rule, one number at a time: sign, `exponentBits`, `fractionBits`. */
function decode(bits: number, exponentBits: number, fractionBits: number): number {
  const sign = bits >> (exponentBits + fractionBits) ? -1 : 1;
  const exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
  const fraction = bits & ((1 << fractionBits) - 1);
  const bias = (1 << (exponentBits - 1)) - 1;
  if (exponent === (1 << exponentBits) - 1) return fraction ? NaN : sign * Infinity;
  return exponent === 0
    ? sign * fraction * 2 ** (1 - bias - fractionBits)
    : sign * (1 + fraction * 2 ** -fractionBits) * 2 ** (exponent - bias);
}

/** Bits of the binary16 number nearest to a finite value, ties to even; found without rounding. */
function nearestHalf(value: number): number {
  const magnitude = Math.abs(value);
  // Beyond the largest finite number the next one would be 65536: from half-way on it is infinity.
  const distance = (bits: number) =>
    Math.abs((bits === 0x7c00 ? 65536 : decode(bits, 5, 10)) - magnitude);
  let low = 0;
  let high = 0x7c00;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (decode(middle, 5, 10) <= magnitude) low = middle;
    else high = middle;
  }
  const isUp = distance(high) < distance(low) ||
    (distance(high) === distance(low) && low % 2 === 1);
  return (Object.is(Math.sign(value), -1) || Object.is(value, -0) ? 0x8000 : 0) |
    (isUp || magnitude >= 65536 ? high : low);
}

/** Element by element: not a number equals itself whatever its payload, 0 differs from -0. */
function assertSame(actual: Float32Array, expected: Float32Array) {
  assert.equal(actual.length, expected.length);
  for (const [i, value] of actual.entries()) {
    assert.ok(Object.is(value, expected[i]), `element ${i}: ${value} for ${expected[i]}`);
  }
}

Deno.test("every f16 as float", () => {
  assertSame(
    toFloat("F16", bytesOf(all16)),
    Float32Array.from(all16, (bits) => decode(bits, 5, 10)),
  );
});

Deno.test("every bfloat16 as float equals float32 with its lower half zero", () => {
  assertSame(toFloat("BF16", bytesOf(all16)), Float32Array.from(all16, bfloat));
});

Deno.test("rounding to f16 takes the nearest, for all bfloat16 and all floats between halves", () => {
  const values = [...Float32Array.from(all16, bfloat)];
  for (let bits = 0; bits < 0x7bff; bits++) {
    const [low, high] = new Float16Array(Uint16Array.of(bits, bits + 1).buffer);
    const middle = (low! + high!) / 2;
    values.push(middle, middle * (1 - 2 ** -20), -middle * (1 + 2 ** -20));
  }
  values.push(65504, 65519.99, 65520, -65520, 1e9, 0, -0, 2 ** -25, 2 ** -25 * 1.001, Infinity);
  for (const value of values) {
    const actual = halfBits(value);
    // Not a number has many encodings.
    if (Number.isNaN(value)) assert.ok((actual & 0x7fff) > 0x7c00);
    else assert.equal(actual, nearestHalf(value), `${value}`);
  }
});

Deno.test("float8 e4m3: bias 7, no infinities, largest 448, 0x7f is not a number", () => {
  const floats = toFloat("F8_E4M3", all8);
  for (const bits of all8) {
    const sign = bits & 0x80 ? -1 : 1;
    const e = (bits >> 3) & 15;
    const m = bits & 7;
    const expected = e === 15 && m === 7
      ? NaN
      : sign * (e === 0 ? m / 8 * 2 ** -6 : (1 + m / 8) * 2 ** (e - 7));
    assert.ok(Object.is(floats[bits], expected), `${bits}: ${floats[bits]} for ${expected}`);
  }
  assert.equal(floats[0x7e], 448);
  assert.equal(floats[0x01], 2 ** -9);
  assert.equal(floats[0x38], 1);
});

Deno.test("float8 e5m2 is the upper byte of f16", () => {
  assertSame(toFloat("F8_E5M2", all8), Float32Array.from(all8, (bits) => decode(bits, 5, 2)));
  assert.equal(toFloat("F8_E5M2", Uint8Array.of(0x7b))[0], 57344);
});

Deno.test("every float8 is exact in f16", () => {
  for (const dtype of ["F8_E4M3", "F8_E5M2"] as const) {
    const halves = toHalf(dtype, all8)!;
    assertSame(
      Float32Array.from(new Float16Array(Uint16Array.from(halves).buffer)),
      toFloat(dtype, all8),
    );
  }
});

Deno.test("bfloat16 that f16 cannot hold is refused whole", () => {
  const bits = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
  const convert = (...values: number[]) => toHalf("BF16", bytesOf(Uint16Array.from(values, bits)));
  assert.deepEqual(convert(1, -2, 0.5), Uint16Array.of(0x3c00, 0xc000, 0x3800));
  assert.ok(convert(65280));
  assert.equal(convert(1, 65536, 1), undefined);
  assert.equal(convert(-1e30), undefined);
  assert.equal(convert(Infinity), undefined);
  assert.equal(convert(NaN), undefined);
});

Deno.test("bytes at odd offsets convert as well", () => {
  for (const [dtype, array] of [["F64", Float64Array], ["F32", Float32Array]] as const) {
    const bytes = new Uint8Array(1 + 3 * array.BYTES_PER_ELEMENT);
    bytes.set(bytesOf(array.of(1.5, -2, 3e5)), 1);
    assert.deepEqual(toFloat(dtype, bytes.subarray(1)), Float32Array.of(1.5, -2, 3e5));
  }
  const bytes = new Uint8Array(5);
  bytes.set(bytesOf(Uint16Array.of(0x3c00, 0xc000)), 1);
  assert.deepEqual(toFloat("F16", bytes.subarray(1)), Float32Array.of(1, -2));
  assert.deepEqual(toHalf("F16", bytes.subarray(1)), Uint16Array.of(0x3c00, 0xc000));
});
