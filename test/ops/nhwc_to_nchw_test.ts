import assert from "node:assert/strict";
import { nhwcToNchw } from "../../src/ops/nhwc_to_nchw.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { nhwcToNchw as reference } from "../reference/nhwc_to_nchw.ts";

const label = "test";

for (const shape of [[1, 1, 1, 1], [2, 3, 5, 7], [1, 33, 64, 3], [3, 8, 9, 32]]) {
  Deno.test(`nhwcToNchw [${shape}]`, async () => {
    const x = random(shape.reduce((a, b) => a * b));
    const actual = await run((rec) => nhwcToNchw(rec, { x: input(x, shape), label }));
    assert.deepEqual([...actual], reference(x, shape[0]!, shape[3]!));
  });
}

Deno.test("nhwcToNchw wants four axes", () => {
  const x = input(random(8), [2, 4]);
  assert.throws(() => nhwcToNchw(gpu.record("misshapen"), { x, label }), /any,any,any,any/);
});
