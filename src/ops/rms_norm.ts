import workgroupSource from "../../kernels/rms_norm.wgsl" with { type: "text" };
import rowSource from "../../kernels/rms_norm_row.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface RmsNormOptions {
  /** (..., C); C a multiple of 4. */
  readonly x: Tensor;
  /** (C) */
  readonly weight: Tensor;
  readonly eps: number;
  readonly label: string;
}

/** An invocation a row on software adapters, a workgroup a row on GPUs. */
const kernels = {
  software: defineKernel("rms_norm_row", rowSource),
  gpu: defineKernel("rms_norm", workgroupSource),
};

/** Rows of a workgroup of the row kernel: 16 invocations with two rows each. */
const rowsPerWorkgroup = 32;

/** RMS norm over the last axis: T5's "layer norm", without mean and bias. */
export function rmsNorm(rec: Recorder, options: RmsNormOptions): Tensor {
  const { x, weight, eps, label } = options;
  const channels = checkChannels("rmsNorm", "x", x);
  checkTensor("rmsNorm", "weight", weight, [channels]);
  const rows = elements(x.shape) / channels;
  const { family } = rec.gpu;
  const y = rec.alloc(x.shape, label);
  rec.dispatch({
    label: `rmsNorm/${label}`,
    kernel: kernels[family],
    bindings: { x, weight, y },
    params: { ...family === "software" && { rows }, channels4: channels / 4, eps },
    grid: family === "software" ? [Math.ceil(rows / rowsPerWorkgroup)] : [rows],
  });
  return y;
}

export const rmsNormUses: readonly KernelUse[] = Object.values(kernels).map((kernel) => ({
  kernel,
  specialisations: [{}],
}));
