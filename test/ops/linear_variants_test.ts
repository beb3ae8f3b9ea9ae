import assert from "node:assert/strict";
import { Gpu } from "../../src/gpu/device.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import { linear, type LinearOptions } from "../../src/ops/linear.ts";
import { activations } from "../../src/ops/support/activations.ts";
import { likelyVariants } from "../../src/ops/linear_variants.ts";
import { assertClose, copyOf, gpu, input, matrix, random, run as runOn } from "../gpu.ts";
import { linearReference } from "../reference/linear.ts";
import { tolerance } from "../tolerance.ts";

/** The same device under the name of a real GPU: its kernels run on the software adapter as well. */
const hardware = new Gpu(gpu.device, gpu.adapter, "gpu");

function run(on: Gpu, { into, ...options }: Omit<LinearOptions, "label">): Promise<Float32Array> {
  const build = (rec: Recorder) =>
    linear(rec, { ...options, ...into && { into: copyOf(rec, into) }, label: "test" });
  return runOn(build, on);
}

function makeWeight(n: number, k: number, dtype: "f32" | "f16") {
  const { tensor, values } = matrix(random(n * k, 2, 0.3), [n, k], dtype);
  return { weight: { shape: [n, k], parts: [{ tensor, rowStart: 0, rows: n }] }, values };
}

for (const dtype of ["f16", "f32"] as const) {
  Deno.test(`linear on GPUs with ${dtype} weights over awkward shapes`, async () => {
    for (const rows of [1, 2, 63, 64, 65, 257]) {
      for (const [n, k] of [[3, 5], [60, 24], [64, 520], [68, 72]] as const) {
        const { weight, values } = makeWeight(n, k, dtype);
        const x = random(rows * k, 3);
        const bias = random(n, 4);
        const expected = linearReference(x, values, [rows, n, k], bias);
        // As many samples of one row, and as one sample: vectors and tiles.
        for (const shape of [[rows, 1, k], [1, rows, k]]) {
          const actual = await run(hardware, {
            x: input(x, shape),
            weight,
            bias: input(bias, [n]),
          });
          assertClose(actual, expected, tolerance.op, `[${shape}] -> ${n}`);
        }
      }
    }
  });
}

Deno.test("linear on GPUs with tiles of 128 x 128", async () => {
  const [rows, n, k] = [300, 4096, 40];
  for (const dtype of ["f16", "f32"] as const) {
    const { weight, values } = makeWeight(n, k, dtype);
    const x = random(rows * k, 3);
    const actual = await run(hardware, { x: input(x, [1, rows, k]), weight });
    assertClose(actual, linearReference(x, values, [rows, n, k]), tolerance.op, dtype);
  }
});

Deno.test("linear on GPUs with every activation", async () => {
  const [n, k] = [20, 24];
  const { weight, values } = makeWeight(n, k, "f16");
  for (const activation of activations) {
    for (const rows of [1, 9]) {
      const x = random(rows * k, 3, 20);
      const actual = await run(hardware, { x: input(x, [1, rows, k]), weight, activation });
      const expected = linearReference(x, values, [rows, n, k], undefined, activation);
      assertClose(actual, expected, tolerance.opTranscendental, `${activation}, ${rows} rows`);
    }
  }
});

Deno.test("linear on GPUs adds gated results in place", async () => {
  const [batch, n, k] = [3, 36, 16];
  const { weight, values } = makeWeight(n, k, "f16");
  for (const s of [1, 70]) {
    const x = random(batch * s * k, 3);
    const residual = random(batch * s * n, 5);
    const gates = random(batch * 40, 6);
    const actual = await run(hardware, {
      x: input(x, [batch, s, k]),
      weight,
      into: input(residual.slice(), [batch, s, n]),
      gate: { tensor: input(gates, [batch, 40]), offset: 4, stride: 40 },
    });
    const expected = linearReference(x, values, [batch * s, n, k]).map((v, i) => {
      const gate = gates[Math.floor(i / n / s) * 40 + 4 + i % n]!;
      return residual[i]! + v * gate;
    });
    assertClose(actual, expected, tolerance.op, `${s} rows a sample`);
  }
});

Deno.test("linear gives the same bits from register and workgroup tiles", async () => {
  const [rows, n, k] = [70, 76, 200];
  const { weight } = makeWeight(n, k, "f16");
  const x = input(random(rows * k, 3), [1, rows, k]);
  assert.deepEqual(await run(gpu, { x, weight }), await run(hardware, { x, weight }));
});

Deno.test("linear on GPUs gives a sample the same bits alone and in a batch", async () => {
  const [n, k] = [76, 520];
  const { weight } = makeWeight(n, k, "f16");
  for (const s of [1, 50]) {
    const size = s * k;
    const x = random(5 * size, 3);
    const together = await run(hardware, { x: input(x, [5, s, k]), weight });
    for (let sample = 0; sample < 5; sample++) {
      const alone = await run(hardware, {
        x: input(x.slice(sample * size, (sample + 1) * size), [1, s, k]),
        weight,
      });
      assert.deepEqual(alone, together.slice(sample * s * n, (sample + 1) * s * n));
    }
  }
});

Deno.test("the batch changes likely variants only for single rows", () => {
  const { adapter } = gpu;
  for (const family of ["gpu", "software"] as const) {
    for (const rowsPerSample of [2, 64, 410, 4096]) {
      const names = [1, 2, 16].map((batch) =>
        likelyVariants({ family, adapter }, {
          rows: batch * rowsPerSample,
          rowsPerSample,
          columns: 1536,
          inputs: 1536,
          dtype: "f16",
        }).map(({ name }) => name).join()
      );
      assert.equal(new Set(names).size, 1);
    }
  }
});
