import source from "../../kernels/guided_step.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

/** What one sample's step does; see `kernels/guided_step.wgsl` for the formula. */
export interface GuidedStepRecord {
  /** Rows of `velocity`. */
  readonly conditional: number;
  /** Absent without guidance. */
  readonly unconditional?: number | undefined;
  /** Prediction with layers skipped, absent without skip-layer guidance. */
  readonly skipped?: number | undefined;
  readonly guidance: number;
  readonly skipScale: number;
  /** Coefficients of the scheduler: `sample * latents + velocity * v`. */
  readonly sample: number;
  readonly velocity: number;
}

export interface GuidedStepOptions {
  /** (N, C, h, w), changed in place. */
  readonly latents: Tensor;
  /** (R, C, h, w) */
  readonly velocity: Tensor;
  /** u32 (N, 7): `packSteps` writes it. */
  readonly steps: Tensor;
  /** How many of the first samples are changed; all of them by default. */
  readonly samples?: number | undefined;
  readonly label: string;
}

const kernel = defineKernel("guided_step", source);
const none = 0xffffffff;
/** u32 words of a record. */
export const wordsPerStep = 7;

/** Guidance and one scheduler step of the first samples; returns `latents`. */
export function guidedStep(rec: Recorder, options: GuidedStepOptions): Tensor {
  const { latents, velocity, steps, samples = latents.shape[0]!, label } = options;
  checkTensor("guidedStep", "latents", latents, [null, null, null, null]);
  const [batch, ...shape] = latents.shape as [number, number, number, number];
  checkTensor("guidedStep", "velocity", velocity, [null, ...shape]);
  checkTensor("guidedStep", "steps", steps, [batch, wordsPerStep], "u32");
  const perSample = elements(shape);
  const width = valueWidth(perSample);
  const count = samples * perSample / width;
  rec.dispatch({
    label: `guidedStep/${label}`,
    kernel,
    specialise: { alias: valueAlias(width) },
    bindings: { latents, velocity, steps },
    params: { count, per_sample: perSample / width },
    grid: flatGrid(count),
  });
  return latents;
}

/** The words of `steps` for these records. */
export function packSteps(records: readonly GuidedStepRecord[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(records.length * wordsPerStep);
  const floats = new Float32Array(words.buffer);
  for (const [i, record] of records.entries()) {
    const at = i * wordsPerStep;
    words[at] = record.conditional;
    words[at + 1] = record.unconditional ?? none;
    words[at + 2] = record.skipped ?? none;
    floats[at + 3] = record.guidance;
    floats[at + 4] = record.skipScale;
    floats[at + 5] = record.sample;
    floats[at + 6] = record.velocity;
  }
  return words;
}

export const guidedStepUses: readonly KernelUse[] = [{
  kernel,
  specialisations: ([1, 4] as const).map((width) => ({ alias: valueAlias(width) })),
}];
