import assert from "node:assert/strict";
import { Gpu } from "../../src/gpu/device.ts";
import { groupNorm, type GroupNormOptions } from "../../src/ops/group_norm.ts";
import { assertClose, gpu, input, random, run as runOn } from "../gpu.ts";
import { groupNorm as reference } from "../reference/group_norm.ts";
import { tolerance } from "../tolerance.ts";

const eps = 1e-6;
const label = "test";

/** The same device under the name of a real GPU: x stays in buffers. */
const hardware = new Gpu(gpu.device, gpu.adapter, "gpu");

const run = (options: GroupNormOptions, on = gpu) => runOn((rec) => groupNorm(rec, options), on);

for (
  const [shape, groups] of [
    [[1, 1, 1, 4], 1],
    [[1, 1, 1, 8], 4],
    [[2, 3, 5, 32], 16],
    [[1, 7, 9, 48], 16],
    [[3, 16, 16, 64], 32],
    [[1, 17, 31, 512], 32],
    [[1, 2, 2, 512], 1],
    [[1, 300, 260, 4], 2],
  ] as const
) {
  for (const silu of [false, true]) {
    Deno.test(`groupNorm [${shape}] in ${groups}${silu ? " with silu" : ""}`, async () => {
      const channels = shape[3];
      const samples = shape[0];
      const x = random(shape.reduce<number>((a, b) => a * b, 1), 1, 2).map((v) => v + 0.7);
      const weight = random(channels, 2);
      const bias = random(channels, 3);
      const options = {
        x: input(x, [...shape]),
        groups,
        weight: input(weight, [channels]),
        bias: input(bias, [channels]),
        eps,
        silu,
        label,
      };
      const expected = reference({ x, samples, groups, weight, bias, eps, silu });
      const limit = silu ? tolerance.opTranscendental : tolerance.op;
      assertClose(await run(options), expected, limit, gpu.adapter.description);
      assertClose(await run(options, hardware), expected, limit, "from buffers");
    });
  }
}

Deno.test("groupNorm of images larger than a texture for one pass", async () => {
  const [samples, pixels, channels] = [2, 131 * 512, 64];
  const x = random(samples * pixels * channels, 1);
  const [weight, bias] = [random(channels, 2), random(channels, 3)];
  const options = {
    x: input(x, [samples, 131, 512, channels]),
    groups: 32,
    weight: input(weight, [channels]),
    bias: input(bias, [channels]),
    eps,
    silu: false,
    label,
  };
  const [textures, buffers] = [await run(options), await run(options, hardware)];
  assert.ok(textures.every((value, i) => value === buffers[i]));
  const expected = reference({ x, samples, groups: 32, weight, bias, eps, silu: false });
  assertClose(textures, expected, tolerance.op);
});

Deno.test("groupNorm keeps its precision far from zero", async () => {
  const shape = [1, 64, 64, 8];
  // Values whose squares' mean would cancel: 1000 +- 0.5, exact in f32.
  const x = Float32Array.from(random(64 * 64 * 8, 5), (v) => 1000 + Math.round(v * 512) / 1024);
  const weight = new Float32Array(8).fill(1);
  const bias = new Float32Array(8);
  const actual = await run({
    x: input(x, shape),
    groups: 2,
    weight: input(weight, [8]),
    bias: input(bias, [8]),
    eps,
    silu: false,
    label,
  });
  const expected = reference({ x, samples: 1, groups: 2, weight, bias, eps, silu: false });
  // One unit in the last place of a mean of 1000 is 1e-4 of this deviation.
  assertClose(actual, expected, 1e-8);
});

Deno.test("groupNorm of a sample does not depend on the batch around it", async () => {
  const size = 13 * 11 * 24;
  const x = random(3 * size, 6);
  const weight = input(random(24, 2), [24]);
  const bias = input(random(24, 3), [24]);
  const norm = (data: Float32Array<ArrayBuffer>, batch: number) =>
    run({ x: input(data, [batch, 13, 11, 24]), groups: 8, weight, bias, eps, silu: true, label });
  const together = await norm(x, 3);
  for (let sample = 0; sample < 3; sample++) {
    const range = [sample * size, (sample + 1) * size] as const;
    assert.deepEqual(await norm(x.slice(...range), 1), together.slice(...range));
  }
});

Deno.test("groupNorm refuses channels that the groups do not divide", () => {
  const x = input(random(12), [1, 1, 1, 12]);
  const weight = input(random(12), [12]);
  assert.throws(
    () =>
      groupNorm(gpu.record("misshapen"), {
        x,
        groups: 5,
        weight,
        bias: weight,
        eps,
        silu: false,
        label,
      }),
    /12 channels for 5 groups/,
  );
});
