import assert from "node:assert/strict";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { linear } from "../../src/ops/linear.ts";
import { activations } from "../../src/ops/support/activations.ts";
import { type Matrix, matrixOf } from "../../src/ops/support/matrix.ts";
import { assertClose, gpu, input, matrix, random, run } from "../gpu.ts";
import { linearReference } from "../reference/linear.ts";
import { tolerance } from "../tolerance.ts";

function weightOf(tensor: Tensor): Matrix {
  return {
    shape: tensor.shape,
    parts: [{ tensor, rowStart: 0, rows: tensor.shape[0]! }],
  };
}

function makeWeight(n: number, k: number, dtype: "f32" | "f16") {
  const { tensor, values } = matrix(random(n * k, 2, 0.3), [n, k], dtype);
  return { weight: weightOf(tensor), values };
}

for (const dtype of ["f16", "f32"] as const) {
  Deno.test(`linear with ${dtype} weights over awkward shapes`, async () => {
    for (const rows of [1, 2, 15, 16, 17, 63, 64, 65, 130]) {
      for (const [n, k] of [[3, 5], [36, 36], [64, 8], [68, 72], [192, 96]] as const) {
        const { weight, values } = makeWeight(n, k, dtype);
        const x = random(rows * k, 3);
        const bias = random(n, 4);
        const actual = await run((rec) =>
          linear(rec, {
            x: input(x, [1, rows, k]),
            weight,
            bias: input(bias, [n]),
            label: "test",
          })
        );
        const expected = linearReference(x, values, [rows, n, k], bias);
        assertClose(actual, expected, tolerance.op, `${rows} x ${k} -> ${n}`);
      }
    }
  });
}

Deno.test("linear with a weight that asks for the large tile", async () => {
  const [rows, n, k] = [65, 1060, 2048];
  const { weight, values } = makeWeight(n, k, "f16");
  const x = random(rows * k, 3);
  const actual = await run((rec) =>
    linear(rec, { x: input(x, [1, rows, k]), weight, label: "test" })
  );
  assertClose(actual, linearReference(x, values, [rows, n, k]), tolerance.op);
});

for (const activation of activations) {
  Deno.test(`linear with ${activation}`, async () => {
    for (const dtype of ["f16", "f32"] as const) {
      for (const rows of [1, 20]) {
        const { weight, values } = makeWeight(40, 24, dtype);
        const x = random(rows * 24, 3, 30);
        const actual = await run((rec) =>
          linear(rec, { x: input(x, [1, rows, 24]), weight, activation, label: "test" })
        );
        const expected = linearReference(x, values, [rows, 40, 24], undefined, activation);
        assertClose(actual, expected, tolerance.opTranscendental, `${rows} rows`);
      }
    }
  });
}

Deno.test("linear adds the gated result to a residual in place", async () => {
  const [batch, k] = [3, 16];
  for (const [s, width] of [[5, 20], [5, 19], [1, 20], [70, 272]] as const) {
    const { weight, values } = makeWeight(width, k, "f16");
    const x = random(batch * s * k, 3);
    const residual = random(batch * s * width, 5);
    const gates = random(batch * 320, 6);
    const gate = { tensor: input(gates, [batch, 320]), offset: 8, stride: 320 };
    const plain = linearReference(x, values, [batch * s, width, k]);
    for (const gated of width % 4 ? [false] : [false, true]) {
      const actual = await run((rec) => {
        const into = input(residual, [batch, s, width]);
        const y = linear(rec, {
          x: input(x, [batch, s, k]),
          weight,
          into,
          gate: gated ? gate : undefined,
          label: "test",
        });
        assert.equal(y, into);
        return y;
      });
      const expected = plain.map((v, i) => {
        const sample = Math.floor(i / width / s);
        return residual[i]! + v * (gated ? gates[sample * 320 + 8 + i % width]! : 1);
      });
      assertClose(actual, expected, tolerance.op, `gated: ${gated}, ${width} columns`);
    }
  }
});

Deno.test("linear adds an activated result to a residual", async () => {
  const { weight, values } = makeWeight(24, 16, "f16");
  const x = random(5 * 16, 3);
  const residual = random(5 * 24, 5);
  const actual = await run((rec) =>
    linear(rec, {
      x: input(x, [1, 5, 16]),
      weight,
      activation: "silu",
      into: input(residual, [1, 5, 24]),
      label: "test",
    })
  );
  const plain = linearReference(x, values, [5, 24, 16], undefined, "silu");
  assertClose(actual, plain.map((v, i) => v + residual[i]!), tolerance.opTranscendental);
});

Deno.test("linear writes each part of a split weight to its columns", async () => {
  const [rows, n, k] = [7, 150, 24];
  const data = random(n * k, 2, 0.3);
  const parts = [[0, 64], [64, 64], [128, 22]].map(([rowStart, count]) => ({
    tensor:
      matrix(data.subarray(rowStart! * k, (rowStart! + count!) * k), [count!, k], "f32").tensor,
    rowStart: rowStart!,
    rows: count!,
  }));
  const x = random(rows * k, 3);
  const bias = random(n, 4);
  const actual = await run((rec) =>
    linear(rec, {
      x: input(x, [1, rows, k]),
      weight: { shape: [n, k], parts },
      bias: input(bias, [n]),
      label: "test",
    })
  );
  assertClose(actual, linearReference(x, data, [rows, n, k], bias), tolerance.op);
});

Deno.test("linear multiplies with an activation of any width", async () => {
  for (const [rows, n, k] of [[6, 10, 16], [5, 9, 12]] as const) {
    const x = random(rows * k, 3);
    const w = random(n * k, 4);
    const actual = await run((rec) =>
      linear(rec, {
        x: input(x, [1, rows, k]),
        weight: matrixOf(input(w, [1, n, k])),
        label: "test",
      })
    );
    assertClose(actual, linearReference(x, w, [rows, n, k]), tolerance.op);
  }
});

Deno.test("linear gives a sample the same bits alone and in a batch", async () => {
  for (const s of [1, 3, 50]) {
    const [n, k] = [76, 40];
    const { weight } = makeWeight(n, k, "f16");
    const x = random(3 * s * k, 3);
    const bias = input(random(n, 4), [n]);
    const evaluate = (values: Float32Array<ArrayBuffer>, batch: number) =>
      run((rec) =>
        linear(rec, {
          x: input(values, [batch, s, k]),
          weight,
          bias,
          activation: "silu",
          label: "t",
        })
      );
    const together = await evaluate(x, 3);
    for (let sample = 0; sample < 3; sample++) {
      const alone = await evaluate(x.slice(sample * s * k, (sample + 1) * s * k), 1);
      assert.deepEqual(alone, together.slice(sample * s * n, (sample + 1) * s * n));
    }
  }
});

Deno.test("linear refuses shapes that do not fit", () => {
  const { weight } = makeWeight(8, 16, "f32");
  const rec = gpu.record("test");
  const x = input(random(32), [1, 2, 16]);
  const wrong = input(random(24), [1, 2, 12]);
  assert.throws(() => linear(rec, { x: wrong, weight, label: "t" }), /wanted \[B, ..., 16\]/);
  assert.throws(() => linear(rec, { x, weight, bias: wrong, label: "t" }), /bias is \[1,2,12\]/);
  assert.throws(() => linear(rec, { x, weight, into: wrong, label: "t" }), /into is \[1,2,12\]/);
  const odd = { tensor: wrong, offset: 2, stride: 0 };
  const gate = { tensor: wrong, offset: 20, stride: 0 };
  assert.throws(() => linear(rec, { x, weight, gate, label: "t" }), /needs a residual/);
  const into = input(random(16), [1, 2, 8]);
  assert.throws(() => linear(rec, { x, weight, into, gate, label: "t" }), /gate is/);
  assert.throws(() => linear(rec, { x, weight, into, gate: odd, label: "t" }), /multiples of 4/);
});
