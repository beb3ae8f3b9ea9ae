import assert from "node:assert/strict";
import { imageToNhwc, latentsToNhwc, nchwToNhwc } from "../../src/ops/nchw_to_nhwc.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { nchwToNhwc as reference } from "../reference/nchw_to_nhwc.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";

for (
  const [extents, channels] of [
    [[1, 1, 1, 1], 1],
    [[2, 3, 5, 7], 8],
    [[1, 3, 64, 33], 3],
    [[3, 16, 9, 8], 16],
  ] as const
) {
  const count = extents.reduce<number>((a, b) => a * b, 1);

  Deno.test(`nchwToNhwc [${extents}] to ${channels} channels`, async () => {
    const x = random(count);
    const actual = await run((rec) =>
      nchwToNhwc(rec, { x: input(x, [...extents]), channels, label })
    );
    assert.deepEqual([...actual], reference(x, extents, channels, 1, 0));
  });

  Deno.test(`latentsToNhwc [${extents}] scales and shifts`, async () => {
    const x = random(count, 2, 3);
    const [divisor, shift] = [1.5305, 0.0609];
    const actual = await run((rec) =>
      latentsToNhwc(rec, { latents: input(x, [...extents]), divisor, shift, label })
    );
    assertClose(actual, reference(x, extents, extents[1], divisor, shift), tolerance.op);
  });
}

Deno.test("imageToNhwc pads with zeros", async () => {
  const x = random(2 * 3 * 4 * 5);
  const actual = await run((rec) =>
    imageToNhwc(rec, { x: input(x, [2, 3, 4, 5]), channels: 8, label })
  );
  assert.deepEqual([...actual], reference(x, [2, 3, 4, 5], 8, 1, 0));
});

Deno.test("nchwToNhwc refuses to drop channels or divide by zero", () => {
  const x = input(random(16), [1, 4, 2, 2]);
  for (const wrong of [{ channels: 3 }, { divisor: 0 }]) {
    assert.throws(() => nchwToNhwc(gpu.record("misshapen"), { x, ...wrong, label }), TypeError);
  }
});
