import assert from "node:assert/strict";
import { wideAttention } from "../../src/ops/wide_attention.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { attention as reference } from "../reference/attention.ts";
import { tolerance } from "../tolerance.ts";

for (const [tokens, width] of [[1, 8], [12, 36], [64, 64], [65, 40], [7, 9], [257, 512]]) {
  Deno.test(`wideAttention() equals its f64 reference: ${tokens} tokens of ${width}`, async () => {
    const [q, k, v] = [8, 9, 10].map((seed) => random(tokens! * width!, seed, 2));
    const scale = width! ** -0.5;
    const shape = [1, tokens!, width!];
    const actual = await run((rec) =>
      wideAttention(rec, {
        q: input(q!, shape),
        k: input(k!, shape),
        v: input(v!, shape),
        scale,
        label: "test",
      })
    );
    const qkv = new Float32Array(3 * tokens! * width!);
    for (let t = 0; t < tokens!; t++) {
      for (const [i, part] of [q!, k!, v!].entries()) {
        qkv.set(part.subarray(t * width!, (t + 1) * width!), (3 * t + i) * width!);
      }
    }
    const streams = [{ qkv, tokens: tokens! }];
    const [expected] = reference({ streams, batch: 1, heads: 1, headDim: width!, scale });
    assertClose(actual, expected!, tolerance.opTranscendental);
  });
}

Deno.test("wideAttention() refuses tensors of different shapes", () => {
  const tensor = (shape: number[]) => gpu.createTensor(shape, "x", "other");
  const q = tensor([1, 4, 8]);
  assert.throws(
    () =>
      wideAttention(gpu.record("test"), { q, k: q, v: tensor([1, 5, 8]), scale: 1, label: "test" }),
    /\[1,5,8\], wanted/,
  );
});
