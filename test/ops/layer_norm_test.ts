import assert from "node:assert/strict";
import { Gpu } from "../../src/gpu/device.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { layerNorm } from "../../src/ops/layer_norm.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { layerNorm as reference } from "../reference/layer_norm.ts";
import { tolerance } from "../tolerance.ts";

const eps = 1e-6;
const label = "test";
const families = (["gpu", "software"] as const).map((f) => new Gpu(gpu.device, gpu.adapter, f));

for (
  const [batch, tokens, channels] of [
    [1, 1, 4],
    [1, 63, 60],
    [2, 64, 64],
    [3, 65, 68],
    [2, 7, 1536],
    [1, 2, 2432],
    [1, 1, 4100],
  ] as const
) {
  for (const form of ["plain", "weight", "bias", "affine", "modulated", "all"] as const) {
    for (const on of families) {
      Deno.test(`layerNorm [${batch}, ${tokens}, ${channels}] ${form}, ${on.family}`, async () => {
        const shape = [batch, tokens, channels];
        const x = random(batch * tokens * channels, 1, 3).map((v) => v + 0.5);
        const weight = ["weight", "affine", "all"].includes(form) ? random(channels, 2) : undefined;
        const bias = ["bias", "affine", "all"].includes(form) ? random(channels, 3) : undefined;
        const modulated = form === "modulated" || form === "all";
        const stride = 6 * channels;
        const chunks = random(batch * stride, 4);
        const at = (row: number, chunk: number, c: number) =>
          chunks[Math.floor(row / tokens) * stride + chunk * channels + c]!;
        const expected = reference({
          x,
          rows: batch * tokens,
          channels,
          eps,
          weight,
          bias,
          ...modulated
            ? { modulation: (row, c) => ({ shift: at(row, 3, c), scale: at(row, 4, c) }) }
            : {},
        });
        const tensor = input(chunks, [batch, stride]);
        const actual = await run((rec) =>
          layerNorm(rec, {
            x: input(x, shape),
            weight: weight && input(weight, [channels]),
            bias: bias && input(bias, [channels]),
            shift: modulated ? { tensor, offset: 3 * channels, stride } : undefined,
            scale: modulated ? { tensor, offset: 4 * channels, stride } : undefined,
            eps,
            label,
          }), on);
        assertClose(actual, expected, tolerance.op);
      });
    }
  }
}

for (const on of families) {
  Deno.test(`layerNorm keeps its precision far from zero, ${on.family}`, async () => {
    const channels = 1024;
    // Values whose squares' mean would cancel: 1000 +- 0.5, exact in f32.
    const x = Float32Array.from(random(channels, 5), (v) => 1000 + Math.round(v * 512) / 1024);
    const expected = reference({ x, rows: 1, channels, eps });
    const actual = await run(
      (rec) => layerNorm(rec, { x: input(x, [1, channels]), eps, label }),
      on,
    );
    assertClose(actual, expected, tolerance.op);
  });

  Deno.test(`layerNorm of a sample does not depend on the batch around it, ${on.family}`, async () => {
    const [tokens, channels] = [33, 132];
    const x = random(3 * tokens * channels, 6);
    const norm = (data: Float32Array<ArrayBuffer>, batch: number) =>
      run((rec) => layerNorm(rec, { x: input(data, [batch, tokens, channels]), eps, label }), on);
    const together = await norm(x, 3);
    for (let sample = 0; sample < 3; sample++) {
      const range = [sample * tokens * channels, (sample + 1) * tokens * channels] as const;
      assert.deepEqual(await norm(x.slice(...range), 1), together.slice(...range));
    }
  });
}

Deno.test("layerNorm names a misshapen tensor", () => {
  const rec = gpu.record("misshapen");
  const x = input(random(8), [2, 4], "hidden");
  const three = input(random(3), [3], "norm.weight");
  const attempt = (options: { x: Tensor; weight?: Tensor }) => () =>
    layerNorm(rec, { ...options, eps, label });
  assert.throws(
    attempt({ x, weight: three }),
    /weight \(norm.weight\) is f32 \[3\], wanted .*\[4\]/,
  );
  assert.throws(attempt({ x: three }), /multiple of 4/);
});
