import assert from "node:assert/strict";
import { guidedStep, type GuidedStepRecord, packSteps } from "../../src/ops/guided_step.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { guidedStep as reference } from "../reference/guided_step.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";
const euler = { guidance: 4.5, skipScale: 2.8, sample: 1, velocity: -0.0357 };

const records: readonly GuidedStepRecord[] = [
  { ...euler, conditional: 0 },
  { ...euler, conditional: 1, unconditional: 2 },
  { ...euler, conditional: 4, unconditional: 3, skipped: 5 },
];

function step(
  latents: Float32Array<ArrayBuffer>,
  velocity: Float32Array<ArrayBuffer>,
  steps: readonly GuidedStepRecord[],
  shape: number[],
  samples?: number,
) {
  const size = shape.reduce((a, b) => a * b);
  const all = [steps.length, ...shape];
  return run((rec) =>
    guidedStep(rec, {
      latents: input(latents, all),
      velocity: input(velocity, [velocity.length / size, ...shape]),
      steps: gpu.upload(packSteps(steps), [steps.length, 7], "steps", "requests"),
      samples,
      label,
    })
  );
}

for (const shape of [[1, 1, 1], [3, 5, 7], [16, 8, 8], [16, 6, 10]]) {
  const size = shape.reduce((a, b) => a * b);
  const [latents, velocity] = [random(3 * size, 1, 4), random(6 * size, 2, 2)];

  Deno.test(`guidedStep [3, ${shape}] by Euler`, async () => {
    const actual = await step(latents, velocity, records, shape);
    assertClose(actual, reference(latents, velocity, records), tolerance.op);
  });
}

Deno.test("guidedStep of a sample does not depend on the batch around it", async () => {
  const shape = [16, 6, 10];
  const size = 16 * 6 * 10;
  const [latents, velocity] = [random(3 * size, 1, 4), random(6 * size, 2, 2)];
  const together = await step(latents, velocity, records, shape);
  for (const [i, record] of records.entries()) {
    const range = [i * size, (i + 1) * size] as const;
    const alone = await step(latents.slice(...range), velocity, [record], shape);
    assert.deepEqual(alone, together.slice(...range));
  }
});

Deno.test("guidedStep leaves the samples alone that it is not asked for", async () => {
  const shape = [16, 4, 6];
  const size = 16 * 4 * 6;
  const [latents, velocity] = [random(3 * size, 1, 4), random(6 * size, 2, 2)];
  const all = await step(latents, velocity, records, shape);
  const two = await step(latents, velocity, records, shape, 2);
  assert.deepEqual(two.slice(0, 2 * size), all.slice(0, 2 * size));
  assert.deepEqual(two.slice(2 * size), latents.slice(2 * size));
});

Deno.test("guidedStep names a misshapen tensor", () => {
  const latents = input(random(32), [2, 1, 4, 4], "latents");
  const velocity = input(random(32), [4, 1, 4, 2], "velocity");
  const steps = gpu.upload(new Uint32Array(14), [2, 7], "steps", "requests");
  assert.throws(
    () => guidedStep(gpu.record("misshapen"), { latents, velocity, steps, label }),
    /velocity .*\[4,1,4,2\], wanted f32 \[any,1,4,4\]/,
  );
});
