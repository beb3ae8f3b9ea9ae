import assert from "node:assert/strict";
import { qkRmsNorm } from "../../src/ops/qk_rms_norm.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { qkRmsNorm as reference } from "../reference/qk_rms_norm.ts";
import { tolerance } from "../tolerance.ts";

for (
  const [batch, tokens, heads, headDim] of [
    [1, 1, 1, 64],
    [2, 33, 3, 64],
    [1, 17, 24, 64],
    [1, 5, 2, 16],
    [1, 5, 2, 32],
    [1, 5, 2, 40],
    [1, 5, 2, 80],
    [1, 5, 2, 96],
    [1, 5, 3, 128],
    [2, 7, 3, 13],
  ] as [number, number, number, number][]
) {
  Deno.test(`qkRmsNorm() equals its f64 reference: ${batch}x${tokens}, ${heads}x${headDim}`, async () => {
    const data = random(batch * tokens * 3 * heads * headDim, 3, 2);
    const weights = [random(headDim, 4), random(headDim, 5)] as const;
    const actual = await run((rec) =>
      qkRmsNorm(rec, {
        qkv: input(data, [batch, tokens, 3 * heads * headDim]),
        heads,
        headDim,
        qWeight: input(weights[0], [headDim]),
        kWeight: input(weights[1], [headDim]),
        eps: 1e-6,
        label: "test",
      })
    );
    const expected = reference(data, heads, headDim, weights, 1e-6);
    assertClose(actual, expected, tolerance.op);
  });
}

Deno.test("qkRmsNorm() refuses what does not fit", () => {
  const tensor = (shape: number[]) => gpu.createTensor(shape, "x", "other");
  const options = { heads: 2, headDim: 8, eps: 1e-6, label: "test" };
  const weight = tensor([8]);
  assert.throws(
    () =>
      qkRmsNorm(gpu.record("test"), {
        ...options,
        qkv: tensor([1, 2, 40]),
        qWeight: weight,
        kWeight: weight,
      }),
    /wanted \[\.\.\., 48\]/,
  );
  assert.throws(
    () =>
      qkRmsNorm(gpu.record("test"), {
        ...options,
        qkv: tensor([1, 2, 48]),
        qWeight: weight,
        kWeight: tensor([6]),
      }),
    /wanted \[8\]/,
  );
});
