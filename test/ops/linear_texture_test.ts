/** Weights in textures against weights in buffers: the same bits, since every output is one chain. */
import assert from "node:assert/strict";
import { linear } from "../../src/ops/linear.ts";
import { activations } from "../../src/ops/support/activations.ts";
import type { Matrix } from "../../src/ops/support/matrix.ts";
import { assertClose, gpu, input, matrix, random, run, weightTexture } from "../gpu.ts";
import { linearReference } from "../reference/linear.ts";
import { tolerance } from "../tolerance.ts";

/** The same weight in one buffer, and in textures of `split` rows. */
async function weights(n: number, k: number, split = n) {
  const { tensor, values } = matrix(random(n * k, 2, 0.3), [n, k], "f16");
  const stride = Math.ceil(k / 8) * 8;
  const halves = new Float16Array(await gpu.readBytes(tensor), 0, n * stride);
  const parts = [];
  for (let rowStart = 0; rowStart < n; rowStart += split) {
    const rows = Math.min(split, n - rowStart);
    const part = halves.slice(rowStart * stride, (rowStart + rows) * stride);
    parts.push({ tensor, texture: weightTexture(rows, stride, part), rowStart, rows });
  }
  const inBuffer: Matrix = { shape: [n, k], parts: [{ tensor, rowStart: 0, rows: n }] };
  return { inBuffer, inTexture: { shape: [n, k], parts } satisfies Matrix, values };
}

Deno.test("linear from textures over awkward shapes: right, and the bits of a weight in a buffer", async () => {
  const shapes = [[3, 5], [36, 36], [64, 64], [68, 72], [128, 8], [129, 40], [260, 96]] as const;
  for (const [n, k] of shapes) {
    const { inBuffer, inTexture, values } = await weights(n, k);
    const bias = random(n, 4);
    for (const rows of [1, 2, 15, 16, 17, 65]) {
      const x = random(rows * k, 3);
      const product = (weight: Matrix) =>
        run((rec) =>
          linear(rec, {
            x: input(x, [1, rows, k]),
            weight,
            bias: input(bias, [n]),
            label: "test",
          })
        );
      const actual = await product(inTexture);
      const expected = linearReference(x, values, [rows, n, k], bias);
      assertClose(actual, expected, tolerance.op, `${rows} x ${k} -> ${n}`);
      assert.deepEqual(actual, await product(inBuffer), `${rows} x ${k} -> ${n}`);
    }
  }
});

Deno.test("linear from textures with the large tile, several passes over x and a split weight", async () => {
  const [rows, n, k] = [5300, 68, 1536];
  const { inTexture, values } = await weights(n, k, 64);
  const x = random(rows * k, 3);
  const actual = await run((rec) =>
    linear(rec, { x: input(x, [1, rows, k]), weight: inTexture, label: "test" })
  );
  // The first and the last rows of both passes; the reference of all would take long.
  for (const first of [0, 2650, 5280]) {
    const part = x.slice(first * k, (first + 20) * k);
    const expected = linearReference(part, values, [20, n, k]);
    assertClose(actual.slice(first * n, (first + 20) * n), expected, tolerance.op, `${first}`);
  }
  const large = await weights(1060, 8192);
  const wide = random(64 * 8192, 3);
  assertClose(
    await run((rec) =>
      linear(rec, { x: input(wide, [1, 64, 8192]), weight: large.inTexture, label: "test" })
    ),
    linearReference(wide, large.values, [64, 1060, 8192]),
    tolerance.op,
  );
});

Deno.test("linear from textures with every activation, and gated into a residual", async () => {
  for (const rows of [1, 20]) {
    const { inTexture, values } = await weights(40, 24);
    const x = random(rows * 24, 3, 30);
    for (const activation of activations) {
      const actual = await run((rec) =>
        linear(rec, {
          x: input(x, [1, rows, 24]),
          weight: inTexture,
          activation,
          label: "test",
        })
      );
      const expected = linearReference(x, values, [rows, 40, 24], undefined, activation);
      assertClose(actual, expected, tolerance.opTranscendental, `${activation}, ${rows} rows`);
    }
  }
  const [batch, s, n, k] = [3, 20, 132, 64];
  const { inTexture, values } = await weights(n, k);
  const x = random(batch * s * k, 3);
  const residual = random(batch * s * n, 5);
  const gates = random(batch * 320, 6);
  const gate = { tensor: input(gates, [batch, 320]), offset: 8, stride: 320 };
  const actual = await run((rec) =>
    linear(rec, {
      x: input(x, [batch, s, k]),
      weight: inTexture,
      into: input(residual.slice(), [batch, s, n]),
      gate,
      label: "test",
    })
  );
  const plain = linearReference(x, values, [batch * s, n, k]);
  const expected = residual.map((value, i) => {
    const sample = Math.floor(i / (s * n));
    return value + gates[sample * 320 + 8 + i % n]! * plain[i]!;
  });
  assertClose(actual, expected, tolerance.op);
});

Deno.test("linear from textures: a sample alone has the bits that it has in a batch of three", async () => {
  for (const [s, n, k] of [[1, 72, 64], [21, 200, 64]] as const) {
    const { inTexture } = await weights(n, k);
    const x = random(3 * s * k, 3);
    const product = (values: Float32Array<ArrayBuffer>, batch: number) =>
      run((rec) =>
        linear(rec, { x: input(values, [batch, s, k]), weight: inTexture, label: "test" })
      );
    const all = await product(x, 3);
    for (let i = 0; i < 3; i++) {
      const alone = await product(x.slice(i * s * k, (i + 1) * s * k), 1);
      assert.deepEqual(alone, all.slice(i * s * n, (i + 1) * s * n));
    }
  }
});
