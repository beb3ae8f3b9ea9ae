import assert from "node:assert/strict";
import { rowsOf } from "../../src/gpu/tensor.ts";
import { fill } from "../../src/ops/fill.ts";
import { gpu, input, random, run } from "../gpu.ts";

// The last one needs more workgroups than a narrow device has in all.
for (const count of [1, 63, 64, 255, 1024, 2_200_001]) {
  Deno.test(`fill ${count} values`, async () => {
    const x = random(count);
    const actual = await run((rec) => fill(rec, { into: input(x, [count]), value: -0.25 }));
    assert.deepEqual(actual, new Float32Array(count).fill(-0.25));
  });
}

Deno.test("fill leaves the rest of a buffer alone", async () => {
  const data = random(3 * 64);
  const into = input(data, [3, 64]);
  await run((rec) => fill(rec, { into: rowsOf(into, 1), value: 0 }));
  const expected = data.slice().fill(0, 64, 128);
  assert.deepEqual(await gpu.readFloats(into), expected);
});
