import workgroupSource from "../../kernels/rms_norm.wgsl" with { type: "text" };
import rowSource from "../../kernels/rms_norm_row.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkTensor } from "./check.ts";
import type { KernelUse } from "./kernel_use.ts";
import { type NormVariant, normVariant } from "./norm_variant.ts";

export interface RmsNormOptions {
  /** (..., C); C a multiple of 4. */
  readonly x: Tensor;
  /** (C) */
  readonly weight: Tensor;
  readonly eps: number;
  readonly label: string;
  /** Default: what suits the adapter. */
  readonly variant?: NormVariant;
}

const kernels = {
  row: defineKernel("rms_norm_row", rowSource),
  workgroup: defineKernel("rms_norm", workgroupSource),
};

/** Rows of a workgroup of the row kernel: 16 invocations with two rows each. */
const rowsPerWorkgroup = 32;

/** RMS norm over the last axis: T5's "layer norm", without mean and bias. */
export function rmsNorm(rec: Recorder, options: RmsNormOptions): Tensor {
  const { x, weight, eps, label } = options;
  const channels = checkChannels("rmsNorm", "x", x);
  checkTensor("rmsNorm", "weight", weight, [channels]);
  const rows = elements(x.shape) / channels;
  const variant = options.variant ?? normVariant(rec.gpu);
  const y = rec.alloc(x.shape, label);
  rec.dispatch({
    label: `rmsNorm/${label}`,
    kernel: kernels[variant],
    bindings: { x, weight, y },
    params: { ...variant === "row" && { rows }, channels4: channels / 4, eps },
    grid: variant === "row" ? [Math.ceil(rows / rowsPerWorkgroup)] : [rows],
  });
  return y;
}

export const rmsNormUses: readonly KernelUse[] = Object.values(kernels).map((kernel) => ({
  kernel,
  specialisations: [{}],
}));
