import assert from "node:assert/strict";
import { guidedCombination, packSums, type TensorSum } from "../../src/ops/guided_combination.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { type GuidedStepRecord, packSteps } from "../../src/ops/guided_step.ts";
import { combine } from "../../src/schedulers/step.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { guided } from "../reference/guided_step.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";
const guidance = { guidance: 4.5, skipScale: 2.8, sample: 1, velocity: -0.0357 };
/** One plain sample before the others, and each form of guidance. */
const records: readonly GuidedStepRecord[] = [
  { ...guidance, conditional: 0 },
  { ...guidance, conditional: 1 },
  { ...guidance, conditional: 2, unconditional: 3 },
  { ...guidance, conditional: 4, unconditional: 2, skipped: 5 },
];

interface Moved {
  readonly next: TensorSum;
  readonly keep?: readonly TensorSum[];
}

/** Noise alone, Heun's first half, and a corrector with everything that there is. */
const moved: readonly Moved[] = [
  { next: { sample: 0.9, velocity: -0.3, noise: 0.4 } },
  { next: { sample: 1, velocity: -0.2 }, keep: [{ sample: 1, velocity: -0.1 }] },
  {
    next: { sample: 0.25, velocity: -0.5, noise: 0.125, kept: [0.75, -0.5, 1.5, 0.3] },
    keep: [
      { sample: 0.5, velocity: 0.1, kept: [0.2, 0.1] },
      { sample: 1, velocity: -0.7 },
      { sample: 0, velocity: 0, kept: [0, 1] },
      { sample: 0, velocity: 0, kept: [0, 0, 1] },
    ],
  },
];

interface Values {
  readonly latents: Float32Array<ArrayBuffer>;
  readonly velocity: Float32Array<ArrayBuffer>;
  readonly noise: Float32Array<ArrayBuffer>;
  readonly kept: Float32Array<ArrayBuffer>;
}

/** Latents, then what is kept. */
async function step(
  { latents, velocity, noise, kept }: Values,
  steps: readonly GuidedStepRecord[],
  samples: readonly Moved[],
  shape: number[],
  slots: number,
) {
  const size = shape.reduce((a, b) => a * b);
  let history: Tensor | undefined;
  const next = await run((rec) => {
    history = slots > 0 ? input(kept, [samples.length * slots, ...shape]) : undefined;
    return guidedCombination(rec, {
      latents: input(latents, [steps.length, ...shape]),
      velocity: input(velocity, [velocity.length / size, ...shape]),
      noise: input(noise, [samples.length, ...shape]),
      kept: history,
      steps: gpu.upload(packSteps(steps), [steps.length, 7], "steps", "requests"),
      sums: input(packSums(samples, slots), [samples.length, 1 + slots, 8]),
      label,
    });
  });
  return { next, kept: history ? await gpu.readFloats(history) : new Float32Array() };
}

for (const shape of [[1, 1, 1], [3, 5, 7], [16, 6, 10]]) {
  const size = shape.reduce((a, b) => a * b);
  const values = {
    latents: random(4 * size, 1, 4),
    velocity: random(6 * size, 2, 2),
    noise: random(3 * size, 3, 2),
    kept: random(12 * size, 4, 3),
  };
  const part = (of: Float32Array, i: number) =>
    new Float32Array(of).slice(i * size, (i + 1) * size);

  Deno.test(`guidedCombination [3 of 4, ${shape}] is the sums of its tensors`, async () => {
    const actual = await step(values, records, moved, shape, 4);
    assert.deepEqual(actual.next.slice(0, size), values.latents.slice(0, size), "a plain sample");
    for (const [i, { next, keep = [] }] of moved.entries()) {
      const tensors = {
        sample: part(values.latents, i + 1),
        velocity: Float32Array.from(
          { length: size },
          (_, at) => guided(records[i + 1]!, (row) => values.velocity[row * size + at]!),
        ),
        noise: part(values.noise, i),
        kept: Array.from({ length: 4 }, (_, slot) => part(values.kept, 4 * i + slot)),
      };
      assertClose(part(actual.next, i + 1), combine(next, tensors), tolerance.op);
      for (let slot = 0; slot < 4; slot++) {
        const sum = keep[slot];
        const expected = sum ? combine(sum, tensors) : tensors.kept[slot]!;
        assertClose(part(actual.kept, 4 * i + slot), expected, tolerance.op);
      }
    }
  });

  Deno.test(`guidedCombination [${shape}]: a sample does not depend on the batch`, async () => {
    const together = await step(values, records, moved, shape, 4);
    for (const [i, own] of moved.entries()) {
      const slots = own.keep?.length ?? 0;
      const kept = values.kept.slice(4 * i * size, (4 * i + slots) * size);
      const alone = await step(
        { ...values, latents: part(values.latents, i + 1), noise: part(values.noise, i), kept },
        [records[i + 1]!],
        [own],
        shape,
        slots,
      );
      assert.deepEqual(alone.next, part(together.next, i + 1), `sample ${i}`);
      const shared = together.kept.slice(4 * i * size, (4 * i + slots) * size);
      assert.deepEqual(alone.kept, shared, `what sample ${i} keeps`);
    }
  });
}

Deno.test("guidedCombination reads nothing whose factor is 0", async () => {
  const broken = (count: number) => new Float32Array(count).fill(NaN);
  const actual = await step(
    { latents: random(16, 1), velocity: random(16, 2), noise: broken(16), kept: broken(32) },
    [{ ...guidance, conditional: 0 }],
    [{
      next: { sample: 1, velocity: -0.5 },
      keep: [{ sample: 1, velocity: 0 }, { sample: 0, velocity: 1 }],
    }],
    [1, 4, 4],
    2,
  );
  assert.ok(actual.next.every(Number.isFinite));
  assert.ok(actual.kept.every(Number.isFinite));
});

Deno.test("guidedCombination names a misshapen tensor, and keeps at most four", () => {
  const rec = gpu.record("misshapen");
  const latents = input(random(32), [2, 1, 4, 4], "latents");
  const steps = gpu.upload(new Uint32Array(14), [2, 7], "steps", "requests");
  const noise = input(random(16), [1, 1, 4, 4], "noise");
  const sums = input(random(8), [1, 1, 8], "sums");
  const common = { latents, steps, noise, sums, label };
  assert.throws(
    () => guidedCombination(rec, { ...common, velocity: input(random(32), [4, 1, 4, 2], "v") }),
    /velocity .*\[4,1,4,2\], wanted f32 \[any,1,4,4\]/,
  );
  const kept = input(random(80), [5, 1, 4, 4], "kept");
  assert.throws(() => guidedCombination(rec, { ...common, velocity: latents, kept }), /at most 4/);
  const one = input(random(16), [1, 1, 4, 4], "kept");
  assert.throws(
    () => guidedCombination(rec, { ...common, velocity: latents, kept: one }),
    /sums .*wanted f32 \[1,2,8\]/,
  );
});
