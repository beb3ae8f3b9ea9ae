import type { GuidedStepRecord } from "../../src/ops/guided_step.ts";

/** One scheduler step in float32, rounded where torch rounds. */
export function guidedStep(
  latents: ArrayLike<number>,
  velocity: ArrayLike<number>,
  records: readonly GuidedStepRecord[],
  noise?: ArrayLike<number>,
): Float32Array {
  const f = Math.fround;
  const size = latents.length / records.length;
  return Float32Array.from(latents, (x, at) => {
    const step = records[Math.floor(at / size)]!;
    const inner = at % size;
    const row = (n: number) => velocity[n * size + inner]!;
    const conditional = row(step.conditional);
    let v = conditional;
    if (step.unconditional !== undefined) {
      const unconditional = row(step.unconditional);
      v = f(unconditional + f(f(step.guidance) * f(conditional - unconditional)));
    }
    if (step.skipped !== undefined) {
      v = f(v + f(f(step.skipScale) * f(conditional - row(step.skipped))));
    }
    const next = f(f(f(step.sample) * x) + f(f(step.velocity) * v));
    return step.noise === 0 ? next : f(next + f(f(step.noise) * noise![at]!));
  });
}
