import assert from "node:assert/strict";
import { activation } from "../../src/ops/activation.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { activation as reference } from "../reference/activation.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";

for (const kind of ["silu", "gelu"] as const) {
  for (const shape of [[1], [255], [256], [3, 257], [2, 5, 64]]) {
    Deno.test(`activation ${kind} [${shape}]`, async () => {
      const x = random(shape.reduce((a, b) => a * b), 1, 6);
      const actual = await run((rec) => activation(rec, { x: input(x, shape), kind, label }));
      assertClose(actual, reference(x, kind), tolerance.opTranscendental);
    });
  }

  Deno.test(`activation ${kind} of extreme values is finite and has the right limits`, async () => {
    const x = new Float32Array([-1e6, -200, -90, 0, 90, 200, 1e6, -0]);
    const actual = await run((rec) => activation(rec, { x: input(x, [8]), kind, label }));
    const limits = [0, 0, 0, 0, 90, 200, 1e6, 0];
    // Below -80 the sigmoid is held at 2e-35 instead of falling to zero.
    for (const [i, limit] of limits.entries()) {
      assert.ok(Math.abs(actual[i]! - limit) < 1e-25, `${x[i]} gives ${actual[i]}`);
    }
  });
}

Deno.test("activation of a value does not depend on what is around it", async () => {
  const x = random(3 * 260, 6, 4);
  const apply = (data: Float32Array<ArrayBuffer>) =>
    run((rec) => activation(rec, { x: input(data, [data.length]), kind: "gelu", label }));
  const together = await apply(x);
  assert.deepEqual(await apply(x.slice(260, 520)), together.slice(260, 520));
});

Deno.test("activation refuses halves and words", () => {
  const x = gpu.createTensor([8], "ids", "other", "u32");
  assert.throws(
    () => activation(gpu.record("misshapen"), { x, kind: "silu", label }),
    /x \(ids\) is u32 \[8\], wanted f32/,
  );
});
