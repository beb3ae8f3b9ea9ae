import type { GuidedStepRecord } from "../../src/ops/guided_step.ts";

/** One scheduler step in float32, rounded where torch rounds. */
export function guidedStep(
  latents: ArrayLike<number>,
  velocity: ArrayLike<number>,
  records: readonly GuidedStepRecord[],
): Float32Array {
  const f = Math.fround;
  const size = latents.length / records.length;
  return Float32Array.from(latents, (x, at) => {
    const step = records[Math.floor(at / size)]!;
    const v = guided(step, (row) => velocity[row * size + at % size]!);
    return f(f(f(step.sample) * x) + f(f(step.velocity) * v));
  });
}

/** The output that a step follows, from the rows of its prediction. */
export function guided(step: GuidedStepRecord, row: (index: number) => number): number {
  const f = Math.fround;
  const conditional = row(step.conditional);
  let v = conditional;
  if (step.unconditional !== undefined) {
    const unconditional = row(step.unconditional);
    v = f(unconditional + f(f(step.guidance) * f(conditional - unconditional)));
  }
  if (step.skipped !== undefined) {
    v = f(v + f(f(step.skipScale) * f(conditional - row(step.skipped))));
  }
  return v;
}
