import assert from "node:assert/strict";
import { patchify } from "../../src/ops/patchify.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { patchify as reference } from "../reference/patchify.ts";

const label = "test";

for (
  const [extents, patch] of [
    [[1, 1, 1, 1], 1],
    [[1, 16, 2, 2], 2],
    [[2, 16, 6, 10], 2],
    [[3, 5, 9, 6], 3],
    [[1, 3, 34, 62], 1],
  ] as const
) {
  Deno.test(`patchify [${extents}] by ${patch}`, async () => {
    const x = random(extents.reduce<number>((a, b) => a * b, 1));
    const actual = await run((rec) =>
      patchify(rec, { latents: input(x, [...extents]), patch, label })
    );
    assert.deepEqual([...actual], reference(x, extents, patch));
  });
}

Deno.test("patchify refuses latents that patches do not tile", () => {
  const latents = input(random(24), [1, 2, 3, 4]);
  assert.throws(
    () => patchify(gpu.record("misshapen"), { latents, patch: 2, label }),
    /latents are \[1,2,3,4\], not multiples of 2/,
  );
});
