import rowSource from "../../kernels/rms_norm_row.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkTensor } from "./check.ts";
import { flatGrid } from "./grid.ts";
import type { KernelUse } from "./kernel_use.ts";

export interface RmsNormOptions {
  /** (..., C); C a multiple of 4. */
  readonly x: Tensor;
  /** (C) */
  readonly weight: Tensor;
  readonly eps: number;
  readonly label: string;
}

const rowKernel = defineKernel("rms_norm_row", rowSource);

/** RMS norm over the last axis: T5's "layer norm", without mean and bias. */
export function rmsNorm(rec: Recorder, { x, weight, eps, label }: RmsNormOptions): Tensor {
  const channels = checkChannels("rmsNorm", "x", x);
  checkTensor("rmsNorm", "weight", weight, [channels]);
  const rows = elements(x.shape) / channels;
  const y = rec.alloc(x.shape, label);
  rec.dispatch({
    label: `rmsNorm/${label}`,
    kernel: rowKernel,
    bindings: { x, weight, y },
    params: { rows, channels4: channels / 4, eps },
    grid: flatGrid(rows),
  });
  return y;
}

export const rmsNormUses: readonly KernelUse[] = [{ kernel: rowKernel, specialisations: [{}] }];
