/** What a step moves and how: the same on every backend, whatever predicts. */
import type { Recorder } from "../gpu/recorder.ts";
import type { DType, Tensor } from "../gpu/tensor.ts";
import type { Step, StepShape } from "../models/sd3/components.ts";
import { guidedCombination, wordsPerSum } from "../ops/guided_combination.ts";
import { guidedStep, wordsPerStep } from "../ops/guided_step.ts";

/** The tensors of a step that hold samples and say what becomes of them. */
export type MovedSamples = Pick<Step, "samples" | "records" | "combined">;

export function movedSamples(
  { samples: count, combined, slots, height, width }: StepShape,
  channels: number,
  alloc: (shape: readonly number[], label: string, dtype?: DType) => Tensor,
): MovedSamples {
  const latents = [channels, height, width];
  const samples = alloc([count, ...latents], "samples");
  const records = alloc([count, wordsPerStep], "records", "u32");
  if (combined === 0) return { samples, records };
  return {
    samples,
    records,
    combined: {
      sums: alloc([combined, 1 + slots, wordsPerSum], "sums"),
      noise: alloc([combined, ...latents], "noise"),
      kept: slots > 0 ? alloc([combined * slots, ...latents], "kept") : undefined,
    },
  };
}

/** Guidance and the scheduler's step; plain samples never meet the kernel of the others. */
export function moveSamples(
  rec: Recorder,
  { samples: latents, records: steps, combined }: MovedSamples,
  velocity: Tensor,
): void {
  const samples = latents.shape[0]! - (combined?.noise.shape[0] ?? 0);
  const common = { latents, velocity, steps, label: "step" };
  if (samples > 0) guidedStep(rec, { ...common, samples });
  if (combined) guidedCombination(rec, { ...common, ...combined });
}
