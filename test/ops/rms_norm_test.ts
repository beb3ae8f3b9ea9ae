import assert from "node:assert/strict";
import { Gpu } from "../../src/gpu/device.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { rmsNorm as reference } from "../reference/rms_norm.ts";
import { tolerance } from "../tolerance.ts";

const eps = 1e-6;
const label = "test";
const families = (["gpu", "software"] as const).map((f) => new Gpu(gpu.device, gpu.adapter, f));

for (const on of families) {
  for (const shape of [[1, 4], [63, 60], [2, 32, 64], [3, 65, 68], [1, 3, 4096], [2, 10240]]) {
    Deno.test(`rmsNorm [${shape}], ${on.family}`, async () => {
      const channels = shape.at(-1)!;
      const x = random(shape.reduce((a, b) => a * b), 1, 20);
      const weight = random(channels, 2);
      const actual = await run(
        (rec) =>
          rmsNorm(rec, { x: input(x, shape), weight: input(weight, [channels]), eps, label }),
        on,
      );
      assertClose(actual, reference(x, weight, eps), tolerance.op);
    });
  }

  Deno.test(`rmsNorm of zeros is zero, ${on.family}`, async () => {
    const weight = input(new Float32Array(8).fill(2), [8]);
    const actual = await run(
      (rec) => rmsNorm(rec, { x: input(new Float32Array(16), [2, 8]), weight, eps, label }),
      on,
    );
    assert.deepEqual(actual, new Float32Array(16));
  });

  Deno.test(`rmsNorm of a sample does not depend on the batch around it, ${on.family}`, async () => {
    const [tokens, channels] = [17, 132];
    const x = random(3 * tokens * channels, 6);
    const weight = input(random(channels, 2), [channels]);
    const norm = (data: Float32Array<ArrayBuffer>, batch: number) =>
      run(
        (rec) => rmsNorm(rec, { x: input(data, [batch, tokens, channels]), weight, eps, label }),
        on,
      );
    const together = await norm(x, 3);
    for (let sample = 0; sample < 3; sample++) {
      const range = [sample * tokens * channels, (sample + 1) * tokens * channels] as const;
      assert.deepEqual(await norm(x.slice(...range), 1), together.slice(...range));
    }
  });
}

Deno.test("rmsNorm names a misshapen tensor", () => {
  const x = input(random(8), [2, 4]);
  const weight = input(random(8), [8], "layer_norm.weight");
  assert.throws(
    () => rmsNorm(gpu.record("misshapen"), { x, weight, eps, label }),
    /weight \(layer_norm.weight\) is f32 \[8\], wanted f32 \[4\]/,
  );
});
