import assert from "node:assert/strict";
import { rowStride } from "../../src/gpu/tensor.ts";
import { transpose } from "../../src/ops/transpose.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { transpose as reference } from "../reference/transpose.ts";

for (const [rows, columns] of [[1, 1], [4, 64], [63, 65], [130, 12], [48, 512]]) {
  Deno.test(`transpose() moves every value and pads with zeros: ${rows}x${columns}`, async () => {
    const data = random(rows! * columns!, 7);
    const stride = rowStride(rows!);
    const actual = await run((rec) => {
      const matrix = transpose(rec, { x: input(data, [1, rows!, columns!]), label: "test" });
      assert.deepEqual(matrix.shape, [columns, rows]);
      return { ...matrix.parts[0]!.tensor, shape: [columns!, stride] };
    });
    assert.deepEqual([...actual], [...reference(data, rows!, columns!, stride)]);
  });
}

Deno.test("transpose() refuses more than one matrix", () => {
  const x = gpu.createTensor([2, 2, 2], "x", "other");
  assert.throws(() => transpose(gpu.record("test"), { x, label: "test" }), /wanted \[R, C\]/);
});
