/** What a step moves and how: the same on every backend, whatever predicts. */
import type { Recorder } from "../gpu/recorder.ts";
import type { DType, Tensor } from "../gpu/tensor.ts";
import type { Step, StepShape } from "../models/sd3/components.ts";
import { guidedCombination, wordsPerSum } from "../ops/guided_combination.ts";
import { guidedStep, wordsPerStep } from "../ops/guided_step.ts";

/** The tensors of a step that hold images and say what becomes of them. */
export type MovedLatents = Pick<Step, "images" | "records" | "combined">;

export function movedLatents(
  { images: count, combined, slots, height, width }: StepShape,
  channels: number,
  alloc: (shape: readonly number[], label: string, dtype?: DType) => Tensor,
): MovedLatents {
  const latents = [channels, height, width];
  const images = alloc([count, ...latents], "images");
  const records = alloc([count, wordsPerStep], "records", "u32");
  if (combined === 0) return { images, records };
  return {
    images,
    records,
    combined: {
      sums: alloc([combined, 1 + slots, wordsPerSum], "sums"),
      noise: alloc([combined, ...latents], "noise"),
      kept: slots > 0 ? alloc([combined * slots, ...latents], "kept") : undefined,
    },
  };
}

/** Guidance and the scheduler's step; plain images never meet the kernel of the others. */
export function stepLatents(
  rec: Recorder,
  { images: latents, records: steps, combined }: MovedLatents,
  velocity: Tensor,
): void {
  const images = latents.shape[0]! - (combined?.noise.shape[0] ?? 0);
  const common = { latents, velocity, steps, label: "step" };
  if (images > 0) guidedStep(rec, { ...common, samples: images });
  if (combined) guidedCombination(rec, { ...common, ...combined });
}
