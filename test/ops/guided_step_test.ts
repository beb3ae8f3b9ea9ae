import assert from "node:assert/strict";
import { guidedStep, type GuidedStepRecord, packSteps } from "../../src/ops/guided_step.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { guidedStep as reference } from "../reference/guided_step.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";
const euler = { guidance: 4.5, skipScale: 2.8, sample: 1, velocity: -0.0357, noise: 0 };
const stochastic = { ...euler, sample: 0.9, velocity: -0.3, noise: 0.4 };

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
  noise?: Float32Array<ArrayBuffer>,
) {
  const size = shape.reduce((a, b) => a * b);
  const all = [steps.length, ...shape];
  return run((rec) =>
    guidedStep(rec, {
      latents: input(latents, all),
      velocity: input(velocity, [velocity.length / size, ...shape]),
      noise: noise && input(noise, all),
      steps: gpu.upload(packSteps(steps), [steps.length, 8], "steps", "requests"),
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

  Deno.test(`guidedStep [3, ${shape}] with noise`, async () => {
    const noise = random(3 * size, 3, 2);
    const steps = records.map((record, i) => ({ ...record, ...(i === 1 ? {} : stochastic) }));
    const actual = await step(latents, velocity, steps, shape, noise);
    assertClose(actual, reference(latents, velocity, steps, noise), tolerance.op);
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

Deno.test("guidedStep does not read noise where its coefficient is 0", async () => {
  const noise = new Float32Array(16).fill(NaN);
  const latents = random(16, 1);
  const velocity = random(16, 2);
  const steps = [{ ...euler, conditional: 0 }];
  const actual = await step(latents, velocity, steps, [1, 4, 4], noise);
  assert.ok(actual.every(Number.isFinite));
});

Deno.test("guidedStep names a misshapen tensor", () => {
  const latents = input(random(32), [2, 1, 4, 4], "latents");
  const velocity = input(random(32), [4, 1, 4, 2], "velocity");
  const steps = gpu.upload(new Uint32Array(16), [2, 8], "steps", "requests");
  assert.throws(
    () => guidedStep(gpu.record("misshapen"), { latents, velocity, steps, label }),
    /velocity .*\[4,1,4,2\], wanted f32 \[any,1,4,4\]/,
  );
});
