/** Products with weights of 8-bit and 4-bit blocks: every family of kernels, in buffers and textures. */
import assert from "node:assert/strict";
import { Gpu } from "../../src/gpu/device.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import { quantBits, type QuantType } from "../../src/gpu/quantized.ts";
import { linear, type LinearOptions } from "../../src/ops/linear.ts";
import { activations } from "../../src/ops/support/activations.ts";
import type { Matrix } from "../../src/ops/support/matrix.ts";
import { quantize, type QuantizedRows } from "../../src/weights/quantize.ts";
import { allocateQuantized, writeQuantized } from "../../src/weights/quantized_part.ts";
import { assertClose, copyOf, gpu, input, random, run as runOn } from "../gpu.ts";
import { linearReference } from "../reference/linear.ts";
import { tolerance } from "../tolerance.ts";

const types = ["q8_0", "q4_0"] as const;
/** The same device under the name of a real GPU: its kernels run on the software adapter as well. */
const hardware = new Gpu(gpu.device, gpu.adapter, "gpu");

/** Where the weight lies, and on which device's kernels it is multiplied with. */
const families = [
  { name: "textures", on: gpu, isTextured: true },
  { name: "register tiles", on: gpu, isTextured: false },
  { name: "GPU kernels", on: hardware, isTextured: false },
] as const;
type Family = (typeof families)[number];

/** The values that the blocks stand for, read bit by bit. */
function dequantize(type: QuantType, { quants, scales }: QuantizedRows, n: number, k: number) {
  const halves = new Float16Array(scales.buffer);
  const bits = quantBits[type];
  return Float32Array.from({ length: n * k }, (_, i) => {
    const [row, column] = [Math.floor(i / k), i % k];
    const word = quants[Math.floor(i * bits / 32)]!;
    const q = word << (32 - bits - i * bits % 32) >> (32 - bits);
    return q * halves[row * 2 * Math.ceil(k / 64) + Math.floor(column / 32)]!;
  });
}

function makeWeight(type: QuantType, [n, k]: readonly [number, number], scale = 0.3) {
  const packed = quantize(type, random(n * k, 2, scale), k)!;
  const values = dequantize(type, packed, n, k);
  /** On a family's device, in parts of `split` rows. */
  const at = ({ isTextured }: Family, split = n): Matrix => {
    const parts = [];
    for (let rowStart = 0; rowStart < n; rowStart += split) {
      const rows = Math.min(split, n - rowStart);
      const part = allocateQuantized(gpu, { label: "weight", rows, k, type, isTextured });
      writeQuantized(gpu, part, packed, { from: rowStart, to: rowStart + rows, at: 0 });
      parts.push({ ...part, rowStart, rows });
    }
    return { shape: [n, k], parts };
  };
  return { at, values };
}

function run(on: Gpu, { into, ...options }: Omit<LinearOptions, "label">): Promise<Float32Array> {
  const build = (rec: Recorder) =>
    linear(rec, { ...options, ...into && { into: copyOf(rec, into) }, label: "test" });
  return runOn(build, on);
}

for (const type of types) {
  Deno.test(`linear with ${type} weights over awkward shapes, the same bits from every tile`, async () => {
    for (const k of [32, 64, 96, 1568]) {
      for (const n of [1, 3, 15, 16, 17, 63, 64, 65]) {
        const { at, values } = makeWeight(type, [n, k]);
        const weights = families.map((family) => ({ ...family, weight: at(family) }));
        const bias = random(n, 4);
        for (const rows of [1, 2, 5, 16, 17, 33]) {
          const x = random(rows * k, 3);
          const expected = linearReference(x, values, [rows, n, k], bias);
          const found = [];
          for (const { name, on, weight } of weights) {
            const actual = await run(on, {
              x: input(x, [1, rows, k]),
              weight,
              bias: input(bias, [n]),
            });
            assertClose(actual, expected, tolerance.op, `${name}: ${rows} x ${k} -> ${n}`);
            found.push(actual);
          }
          assert.deepEqual(found[1], found[0], `${rows} x ${k} -> ${n}`);
          // GPUs add a single row's products in another order.
          if (rows > 1) assert.deepEqual(found[2], found[0], `${rows} x ${k} -> ${n}`);
        }
      }
    }
  });

  Deno.test(`linear with ${type} weights: a sample's bits alone and in a batch`, async () => {
    const [n, k] = [132, 224];
    const { at } = makeWeight(type, [n, k]);
    for (const family of families) {
      const weight = at(family);
      for (const s of [1, 21]) {
        const x = random(5 * s * k, 3);
        const together = await run(family.on, { x: input(x, [5, s, k]), weight });
        for (let i = 0; i < 5; i++) {
          const alone = await run(family.on, {
            x: input(x.slice(i * s * k, (i + 1) * s * k), [1, s, k]),
            weight,
          });
          const what = `${family.name}, ${s} rows`;
          assert.deepEqual(alone, together.slice(i * s * n, (i + 1) * s * n), what);
        }
      }
    }
  });

  Deno.test(`linear with ${type} weights in parts, gated into a residual`, async () => {
    const [batch, n, k] = [3, 168, 96];
    const { at, values } = makeWeight(type, [n, k]);
    for (const family of families) {
      const weight = at(family, 64);
      assert.equal(weight.parts.length, 3);
      for (const s of [1, 18]) {
        const x = random(batch * s * k, 3);
        const residual = random(batch * s * n, 5);
        const gates = random(batch * 200, 6);
        const actual = await run(family.on, {
          x: input(x, [batch, s, k]),
          weight,
          bias: input(random(n, 4), [n]),
          into: input(residual.slice(), [batch, s, n]),
          gate: { tensor: input(gates, [batch, 200]), offset: 8, stride: 200 },
        });
        const plain = linearReference(x, values, [batch * s, n, k], random(n, 4));
        const expected = residual.map((value, i) =>
          value + gates[Math.floor(i / (s * n)) * 200 + 8 + i % n]! * plain[i]!
        );
        assertClose(actual, expected, tolerance.op, `${family.name}, ${s} rows`);
      }
    }
  });

  Deno.test(`linear with ${type} weights with every activation`, async () => {
    const [n, k] = [36, 64];
    const { at, values } = makeWeight(type, [n, k]);
    for (const family of families) {
      const weight = at(family);
      for (const activation of activations) {
        for (const rows of [1, 9]) {
          const x = random(rows * k, 3, 10);
          const actual = await run(family.on, { x: input(x, [1, rows, k]), weight, activation });
          const expected = linearReference(x, values, [rows, n, k], undefined, activation);
          const what = `${family.name}, ${activation}, ${rows} rows`;
          assertClose(actual, expected, tolerance.opTranscendental, what);
        }
      }
    }
  });
}

Deno.test("linear with a quantised weight and the large tiles", async () => {
  // As many products as the choice of the largest tiles asks for.
  const [rows, n, k] = [260, 4100, 512];
  for (const type of types) {
    const { at, values } = makeWeight(type, [n, k]);
    const x = random(rows * k, 3);
    const found = [];
    for (const family of families) {
      found.push(await run(family.on, { x: input(x, [1, rows, k]), weight: at(family) }));
    }
    assert.deepEqual(found[1], found[0]);
    assert.deepEqual(found[2], found[0]);
    const last = rows - 3;
    assertClose(
      found[0]!.slice(last * n),
      linearReference(x.slice(last * k), values, [3, n, k]),
      tolerance.op,
      type,
    );
  }
});

Deno.test("linear with scales that f16 holds as subnormal numbers", async () => {
  const [rows, n, k] = [17, 20, 64];
  for (const type of types) {
    for (const scale of [2e-3, 1e-4]) {
      const { at, values } = makeWeight(type, [n, k], scale);
      const x = random(rows * k, 3, 1000);
      const expected = linearReference(x, values, [rows, n, k]);
      for (const family of families) {
        const actual = await run(family.on, { x: input(x, [1, rows, k]), weight: at(family) });
        assertClose(actual, expected, tolerance.op, `${family.name}, ${type}, ${scale}`);
      }
    }
  }
});

Deno.test("linear refuses a quantised weight whose rows are not whole blocks", async () => {
  const { at } = makeWeight("q8_0", [16, 64]);
  const weight = { ...at(families[1]), shape: [16, 40] };
  await assert.rejects(
    run(gpu, { x: input(random(40), [1, 1, 40]), weight }),
    /quantised weight is \[16,40\], wanted a multiple of 32 columns/,
  );
});
