import assert from "node:assert/strict";
import { philox, PhiloxGenerator } from "../../src/random/philox.ts";

// Known answers of Random123 1.14, kat_vectors, philox4x32 10.
Deno.test("philox equals the known answers", () => {
  const vectors = [
    [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as [[number, number, number, number], [number, number], number[]][];
  for (const [counter, key, expected] of vectors) assert.deepEqual(philox(counter, key), expected);
});

// The doctest of AUTOMATIC1111's modules/rng_philox.py: Generator(seed=0).randn((3, 4)).
Deno.test("unlimited capacity equals A1111's generator", () => {
  // deno-fmt-ignore
  const expected = [
    -0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564, -0.62285122,
    -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497,
  ];
  const actual = new PhiloxGenerator(0).randn(12);
  expected.forEach((value, i) => assert.ok(Math.abs(actual[i]! - value) < 2e-6, `${actual[i]}`));
});

Deno.test("beyond the capacity a thread's further components follow", () => {
  const all = new PhiloxGenerator(5).randn(512);
  const small = new PhiloxGenerator(5, { capacity: 256 });
  const values = small.randn(2048);
  assert.deepEqual(values.subarray(0, 256), all.subarray(0, 256));
  assert.notDeepEqual(values.subarray(256, 512), all.subarray(256));
  // 2048 values are two draws of four from each of 256 threads; the next call begins at the third.
  const next = new PhiloxGenerator(5, { capacity: 256 });
  next.randn(1024);
  assert.deepEqual(next.clone().randn(1024), values.subarray(1024));
  assert.deepEqual(next.randn(256), values.subarray(1024, 1280));
});

Deno.test("wrong seeds, capacities and lengths are refused", () => {
  assert.throws(() => new PhiloxGenerator(0.5), RangeError);
  for (const capacity of [0, 100, 300, NaN]) {
    assert.throws(() => new PhiloxGenerator(0, { capacity }), RangeError);
  }
  assert.throws(() => new PhiloxGenerator(0).randn(-1), RangeError);
});
