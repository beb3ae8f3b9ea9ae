/** Against ggml's C, transcribed with every f32 operation rounded through a Float32Array. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { QuantType } from "../../src/gpu/quantized.ts";
import { halfBits } from "../../src/weights/convert.ts";
import { quantize } from "../../src/weights/quantize.ts";

const cell = new Float32Array(1);
/** The value as f32 holds it, by storing it. */
function f32(value: number): number {
  cell[0] = value;
  return cell[0]!;
}

interface Block {
  readonly d: number;
  readonly q: number[];
}

/** quantize_row_q8_0_ref for one block; d before it becomes f16. */
function blockQ8(x: readonly number[]): Block {
  let amax = 0;
  for (const v of x) amax = Math.max(amax, Math.abs(v));
  const d = f32(amax / 127);
  const id = d ? f32(1 / d) : 0;
  const roundf = (v: number) => Math.sign(v) * Math.floor(Math.abs(v) + 0.5);
  return { d, q: x.map((v) => roundf(f32(v * id))) };
}

/** quantize_row_q4_0_ref for one block; q before the 8 is subtracted. */
function blockQ4(x: readonly number[]): Block {
  let amax = 0;
  let max = 0;
  for (const v of x) {
    if (amax < Math.abs(v)) {
      amax = Math.abs(v);
      max = v;
    }
  }
  const d = f32(max / -8);
  const id = d ? f32(1 / d) : 0;
  return { d, q: x.map((v) => Math.min(15, Math.trunc(f32(f32(v * id) + 8.5)))) };
}

/** What is in memory, unpacked bit by bit: the f16 scale and the unsigned or signed q of each. */
function unpack(type: QuantType, values: Float32Array, k = values.length) {
  const packed = quantize(type, values, k)!;
  const rows = values.length / k;
  const blocks = [];
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < k / 32; block++) {
      const word = packed.scales[row * Math.ceil(k / 64) + (block >> 1)]!;
      const q = Array.from({ length: 32 }, (_, i) => {
        const at = row * k + block * 32 + i;
        if (type === "q8_0") return packed.quants[at >> 2]! << (24 - 8 * (at % 4)) >> 24;
        return (packed.quants[at >> 3]! << (28 - 4 * (at % 8)) >> 28) + 8;
      });
      blocks.push({ scale: (word >>> (16 * (block % 2))) & 0xffff, q });
    }
  }
  return blocks;
}

function check(type: QuantType, values: Float32Array, k = values.length): void {
  const actual = unpack(type, values, k);
  const expected = Array.from({ length: values.length / 32 }, (_, block) => {
    const x = [...values.subarray(block * 32, block * 32 + 32)];
    const { d, q } = (type === "q8_0" ? blockQ8 : blockQ4)(x);
    return { scale: halfBits(d), q: q.map((v) => v + 0) };
  });
  assert.deepEqual(actual, expected);
}

for (const type of ["q8_0", "q4_0"] as const) {
  Deno.test(`${type} has the bits of ggml's reference`, () => {
    const value = fc.oneof(
      fc.float({ min: -2, max: 2, noNaN: true }),
      fc.float({ min: Math.fround(-6e4), max: Math.fround(6e4), noNaN: true }),
      // Few distinct values: ties of magnitude, zeros of both signs, halves.
      fc.constantFrom(0, -0, 1, -1, 0.5, -0.5, 127, -127, 63.5, -63.5, 8, -8, 3.5, -3.5, 2 ** -20),
    );
    fc.assert(
      fc.property(fc.array(value, { minLength: 96, maxLength: 96 }), (x) => {
        check(type, Float32Array.from(x));
        check(type, Float32Array.from(x), 32);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  Deno.test(`${type}: rows of an odd number of blocks leave half a word of scales`, () => {
    const values = Float32Array.from({ length: 3 * 96 }, (_, i) => Math.sin(i));
    check(type, values, 96);
    const { quants, scales } = quantize(type, values, 96)!;
    assert.deepEqual([quants.length, scales.length], [3 * (type === "q8_0" ? 24 : 12), 3 * 2]);
    assert.deepEqual([1, 3, 5].map((i) => scales[i]! >>> 16), [0, 0, 0]);
  });

  Deno.test(`${type}: what blocks cannot hold is told`, () => {
    const with_ = (value: number) =>
      Float32Array.from({ length: 64 }, (_, i) => i === 40 ? value : i);
    for (const value of [NaN, Infinity, -Infinity, 1e30, -1e8]) {
      assert.equal(quantize(type, with_(value), 64), undefined, `${value}`);
    }
    // NaN first and last in its block.
    for (const at of [0, 31]) {
      const values = new Float32Array(32);
      values[at] = NaN;
      assert.equal(quantize(type, values, 32), undefined);
    }
    assert.throws(() => quantize(type, new Float32Array(48), 48), /rows of 48/);
    assert.throws(() => quantize(type, new Float32Array(48), 32), /48 values/);
  });

  Deno.test(`${type}: values too small for their scale's inverse are zeros`, () => {
    const values = Float32Array.from({ length: 32 }, (_, i) => i % 2 ? 1e-39 : 0);
    const [{ scale, q }] = unpack(type, values) as [{ scale: number; q: number[] }];
    assert.equal(scale & 0x7fff, 0);
    assert.deepEqual(new Set(q), new Set([type === "q8_0" ? 0 : 8]));
  });
}

Deno.test("q8_0: known values", () => {
  // d = 1: integers are themselves, halves go away from zero.
  const values = new Float32Array(32);
  values.set([127, -127, 0.5, -0.5, 1.5, -1.5, 0.49, -3]);
  const [{ scale, q }] = unpack("q8_0", values) as [{ scale: number; q: number[] }];
  assert.equal(scale, 0x3c00);
  assert.deepEqual(q.slice(0, 9), [127, -127, 1, -1, 2, -2, 0, -3, 0]);
  assert.deepEqual(unpack("q8_0", new Float32Array(32)), [{ scale: 0, q: Array(32).fill(0) }]);
});

Deno.test("q4_0: known values", () => {
  // The extreme is positive, so d = -1 and it becomes q = 0: -8 * -1.
  const values = new Float32Array(32);
  values.set([8, -8, 7, -7, 0.5, -0.5, 0.6, 1]);
  const [{ scale, q }] = unpack("q4_0", values) as [{ scale: number; q: number[] }];
  assert.equal(scale, 0xbc00);
  assert.deepEqual(q.slice(0, 9), [0, 15, 1, 15, 8, 9, 7, 7, 8]);
  // Of two values of one magnitude the first decides.
  const [second] = unpack("q4_0", values.map((v) => -v));
  assert.equal(second!.scale, 0x3c00);
  // ggml's d of a block of zeros is 0 / -8.
  assert.deepEqual(unpack("q4_0", new Float32Array(32)), [{ scale: 0x8000, q: Array(32).fill(8) }]);
});
