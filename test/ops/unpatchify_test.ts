import assert from "node:assert/strict";
import { unpatchify } from "../../src/ops/unpatchify.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { unpatchify as reference } from "../reference/unpatchify.ts";

const label = "test";

for (
  const [batch, channels, height, width, patch] of [
    [1, 1, 1, 1, 1],
    [1, 16, 1, 1, 2],
    [2, 16, 3, 5, 2],
    [3, 5, 4, 2, 3],
    [1, 3, 33, 31, 2],
  ] as const
) {
  Deno.test(`unpatchify ${batch} x ${channels} x ${height} x ${width} by ${patch}`, async () => {
    const shape = [batch, height * width, patch * patch * channels];
    const x = random(shape.reduce((a, b) => a * b));
    const actual = await run((rec) =>
      unpatchify(rec, { x: input(x, shape), patch, channels, height, width, label })
    );
    const expected = reference(x, [batch, channels, height * patch, width * patch], patch);
    assert.deepEqual([...actual], [...expected]);
  });
}

Deno.test("unpatchify names a misshapen tensor", () => {
  const x = input(random(48), [1, 6, 8], "proj_out");
  const options = { x, patch: 2, channels: 2, height: 2, width: 4, label };
  assert.throws(
    () => unpatchify(gpu.record("misshapen"), options),
    /x \(proj_out\) is f32 \[1,6,8\], wanted f32 \[any,8,8\]/,
  );
});
