import assert from "node:assert/strict";
import { upsampleNearest } from "../../src/ops/upsample_nearest.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { upsampleNearest as reference } from "../reference/upsample_nearest.ts";

const label = "test";

for (const shape of [[1, 1, 1, 1], [2, 3, 5, 7], [1, 8, 9, 64], [3, 5, 4, 12]] as const) {
  Deno.test(`upsampleNearest [${shape}]`, async () => {
    const x = random(shape.reduce<number>((a, b) => a * b, 1));
    const actual = await run((rec) => upsampleNearest(rec, { x: input(x, [...shape]), label }));
    assert.deepEqual([...actual], reference(x, shape));
  });
}

Deno.test("upsampleNearest wants four axes", () => {
  const x = input(random(8), [2, 4]);
  assert.throws(() => upsampleNearest(gpu.record("misshapen"), { x, label }), /any,any,any,any/);
});
