import source from "../../kernels/guided_combination.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import { wordsPerStep } from "./guided_step.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

/** Factors of a sum of tensors; see `kernels/guided_combination.wgsl`. */
export interface TensorSum {
  readonly sample: number;
  readonly velocity: number;
  readonly noise?: number | undefined;
  readonly kept?: readonly number[] | undefined;
}

export interface GuidedCombinationOptions {
  /** (N, C, h, w), of which the last M are changed in place. */
  readonly latents: Tensor;
  /** (R, C, h, w) */
  readonly velocity: Tensor;
  /** (M, C, h, w) */
  readonly noise: Tensor;
  /** (M * slots, C, h, w), changed in place; absent where nothing is kept. */
  readonly kept?: Tensor | undefined;
  /** u32 (N, 7), as `guidedStep` has it. */
  readonly steps: Tensor;
  /** (M, 1 + slots, 8): `packSums` writes it. */
  readonly sums: Tensor;
  readonly label: string;
}

const kernel = defineKernel("guided_combination", source);
/** Most tensors kept for one image: the kernel's own bound. */
export const mostSlots = 4;
/** f32 words of a sum. */
export const wordsPerSum = 8;

/** Guidance and one scheduler step with noise or a history; returns `latents`. */
export function guidedCombination(rec: Recorder, options: GuidedCombinationOptions): Tensor {
  const { latents, velocity, noise, kept, steps, sums, label } = options;
  const name = "guidedCombination";
  checkTensor(name, "latents", latents, [null, null, null, null]);
  const [batch, ...shape] = latents.shape as [number, number, number, number];
  checkTensor(name, "velocity", velocity, [null, ...shape]);
  checkTensor(name, "noise", noise, [null, ...shape]);
  checkTensor(name, "steps", steps, [batch, wordsPerStep], "u32");
  const samples = noise.shape[0]!;
  const slots = (kept?.shape[0] ?? 0) / samples;
  if (kept) checkTensor(name, "kept", kept, [null, ...shape]);
  if (!Number.isInteger(slots) || slots > mostSlots) {
    throw new RangeError(
      `${name}: ${slots} tensors kept for each sample; at most ${mostSlots} are`,
    );
  }
  checkTensor(name, "sums", sums, [samples, 1 + slots, wordsPerSum]);
  const perSample = elements(shape);
  const width = valueWidth(perSample);
  const count = samples * perSample / width;
  rec.dispatch({
    label: `${name}/${label}`,
    kernel,
    specialise: { alias: valueAlias(width) },
    bindings: { latents, kept: kept ?? rec.gpu.absent, velocity, noise, steps, sums },
    params: { count, per_sample: perSample / width, first: batch - samples, slots },
    grid: flatGrid(count),
  });
  return latents;
}

/**
 * The words of `sums`: for each sample what its latents become, then what each slot holds; a slot for
 * which there is no sum stays as it is.
 */
export function packSums(
  samples: readonly {
    readonly next: TensorSum;
    readonly keep?: readonly TensorSum[] | undefined;
  }[],
  slots: number,
): Float32Array<ArrayBuffer> {
  const words = new Float32Array(samples.length * (1 + slots) * wordsPerSum);
  for (const [i, { next, keep = [] }] of samples.entries()) {
    for (let slot = -1; slot < slots; slot++) {
      const at = (i * (1 + slots) + 1 + slot) * wordsPerSum;
      const sum = slot < 0 ? next : keep[slot];
      if (sum) words.set([sum.sample, sum.velocity, sum.noise ?? 0, 0, ...sum.kept ?? []], at);
      else words[at + 4 + slot] = 1;
    }
  }
  return words;
}

export const guidedCombinationUses: readonly KernelUse[] = [{
  kernel,
  specialisations: ([1, 4] as const).map((width) => ({ alias: valueAlias(width) })),
}];
