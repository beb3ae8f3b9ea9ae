import assert from "node:assert/strict";
import { TorchCpuGenerator } from "../../src/random/torch_cpu.ts";

function assertClose(actual: ArrayLike<number>, expected: readonly number[], tolerance = 2e-6) {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, i) => {
    assert.ok(Math.abs(actual[i]! - value) <= tolerance, `[${i}] ${actual[i]} is not ${value}`);
  });
}

// Printed by torch 2.13.0+cpu: torch.randn(n, generator=torch.Generator().manual_seed(seed)).
const fourOfSeed0 = [1.5409960747, -0.2934288979, -2.1787893772, 0.5684312582];
// deno-fmt-ignore
const sixteenOfSeed0 = [
  -1.1258398294, -1.1523602009, -0.2505785823, -0.4338788092, 0.8487103581, 0.6920091510,
  -0.3160127699, -2.1152193546, 0.3222749233, -1.2633347511, 0.3499831855, 0.3081339300,
  0.1198415086, 1.2376579046, 1.1167771816, -0.2472781539,
];
const fourOfSeed42 = [0.3366903663, 0.1288094074, 0.2344623655, 0.2303330302];
// deno-fmt-ignore
const sixteenOfSeed42 = [
  1.9269152880, 1.4872840643, 0.9007171988, -2.1055209637, 0.6784184575, -1.2345448732,
  -0.0430674776, -1.6046669483, -0.7521352768, 1.6487230063, -0.3924786448, -1.4036071301,
  -0.7278813124, -0.5594301820, -0.7688388824, 0.7624453902,
];

Deno.test("fewer than 16 values: torch's slow path", () => {
  assertClose(new TorchCpuGenerator(0).randn(4), fourOfSeed0);
  assertClose(new TorchCpuGenerator(42).randn(4), fourOfSeed42);
  const generator = new TorchCpuGenerator(0);
  assertClose([1, 1, 1, 1].map((n) => generator.randn(n)[0]!), fourOfSeed0);
});

Deno.test("16 values and more: torch's blocks", () => {
  assertClose(new TorchCpuGenerator(0).randn(16), sixteenOfSeed0);
  assertClose(new TorchCpuGenerator(42).randn(16), sixteenOfSeed42);
});

Deno.test("a length that is no multiple of 16 redraws the last block", () => {
  const values = new TorchCpuGenerator(0).randn(17);
  assertClose(values.subarray(0, 4), [-1.1258398294, -1.6959311962, 0.5666506290, 0.7935083508]);
  assertClose(values.subarray(15), [-0.8436767459, 0.9318265915]);
});

Deno.test("the latents of a 1024 x 1024 image", () => {
  const values = new TorchCpuGenerator(42).randn(16 * 128 * 128);
  let sum = 0;
  let largest = 0;
  for (const value of values) {
    sum += value;
    largest = Math.max(largest, Math.abs(value));
  }
  const mean = sum / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  assertClose(values.subarray(0, 8), sixteenOfSeed42.slice(0, 8));
  assert.ok(Math.abs(sum - -62.913282) < 0.01, `${sum}`);
  assert.ok(Math.abs(Math.sqrt(squares / (values.length - 1)) - 1.0022382) < 1e-6);
  assert.ok(Math.abs(largest - 4.6290774) < 2e-6, `${largest}`);
});

Deno.test("the value kept from a pair survives a block call", () => {
  const generator = new TorchCpuGenerator(7);
  generator.randn(3);
  const fourth = generator.clone().randn(1)[0];
  generator.randn(16);
  assert.equal(generator.randn(1)[0], fourth);
});

Deno.test("seeds count modulo 2^32, negative ones modulo 2^64", () => {
  const draw = (seed: number | bigint) => [...new TorchCpuGenerator(seed).randn(20)];
  assert.deepEqual(draw(2 ** 32 + 42), draw(42));
  assert.deepEqual(draw(-1), draw(2n ** 64n - 1n));
  assert.deepEqual(draw(-1), draw(0xffffffff));
  assert.notDeepEqual(draw(43), draw(42));
  assert.equal(new TorchCpuGenerator(-1).seed, 2n ** 64n - 1n);
  for (const seed of [1.5, NaN, Infinity, 2 ** 53]) {
    assert.throws(() => new TorchCpuGenerator(seed), RangeError);
  }
});

Deno.test("a clone goes on alone", () => {
  const generator = new TorchCpuGenerator(3);
  generator.randn(5);
  const copy = generator.clone();
  const expected = [...copy.clone().randn(40)];
  copy.randn(1000);
  assert.deepEqual([...generator.randn(40)], expected);
});

Deno.test("zero values draw nothing; other lengths are refused", () => {
  const generator = new TorchCpuGenerator(0);
  assert.equal(generator.randn(0).length, 0);
  assertClose(generator.randn(4), fourOfSeed0);
  for (const n of [-1, 1.5, NaN]) assert.throws(() => generator.randn(n), RangeError);
});
