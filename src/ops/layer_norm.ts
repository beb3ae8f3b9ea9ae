import workgroupSource from "../../kernels/layer_norm.wgsl" with { type: "text" };
import rowSource from "../../kernels/layer_norm_row.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type PerSample, type Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkPerSample, checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface LayerNormOptions {
  /** (B, S, C), or (R, C) where nothing is per sample; C a multiple of 4. */
  readonly x: Tensor;
  /** (C) */
  readonly weight?: Tensor | undefined;
  /** (C) */
  readonly bias?: Tensor | undefined;
  /** adaLN: the normed x becomes `x * (1 + scale) + shift`; both or neither. */
  readonly scale?: PerSample | undefined;
  readonly shift?: PerSample | undefined;
  readonly eps: number;
  readonly label: string;
}

/** An invocation a row on software adapters, a workgroup a row on GPUs. */
const kernels = {
  software: defineKernel("layer_norm_row", rowSource),
  gpu: defineKernel("layer_norm", workgroupSource),
};

/** Rows of an invocation of the row kernel. */
const rowsPerInvocation = 2;

/** LayerNorm over the last axis, with adaLN's modulation in the same pass. */
export function layerNorm(rec: Recorder, options: LayerNormOptions): Tensor {
  const { x, weight, bias, scale, shift, eps, label } = options;
  const channels = checkChannels("layerNorm", "x", x);
  const rows = elements(x.shape) / channels;
  if (weight) checkTensor("layerNorm", "weight", weight, [channels]);
  if (bias) checkTensor("layerNorm", "bias", bias, [channels]);
  if (!scale !== !shift) throw new TypeError("layerNorm: scale and shift go together");
  const samples = scale ? x.shape[0]! : 1;
  if (scale) checkPerSample("layerNorm", "scale", scale, samples, channels);
  if (shift) checkPerSample("layerNorm", "shift", shift, samples, channels);

  const { family } = rec.gpu;
  const perSample = rows / samples;
  const groups = family === "software"
    ? Math.ceil(perSample / (16 * rowsPerInvocation))
    : perSample;
  const y = rec.alloc(x.shape, label);
  const absent = rec.gpu.absent;
  rec.dispatch({
    label: `layerNorm/${label}`,
    kernel: kernels[family],
    specialise: { override: { HAS_WEIGHT: !!weight, HAS_BIAS: !!bias, MODULATED: !!scale } },
    bindings: {
      x,
      weight: weight ?? absent,
      bias: bias ?? absent,
      scale: scale?.tensor ?? absent,
      shift: shift?.tensor ?? absent,
      y,
    },
    params: {
      channels4: channels / 4,
      rows_per_sample: perSample,
      scale_offset: (scale?.offset ?? 0) / 4,
      scale_stride: (scale?.stride ?? 0) / 4,
      shift_offset: (shift?.offset ?? 0) / 4,
      shift_stride: (shift?.stride ?? 0) / 4,
      eps,
    },
    grid: [groups, samples],
  });
  return y;
}

const flags = [false, true];
const forms = flags.flatMap((HAS_WEIGHT) =>
  flags.flatMap((HAS_BIAS) =>
    flags.map((MODULATED) => ({ override: { HAS_WEIGHT, HAS_BIAS, MODULATED } }))
  )
);

export const layerNormUses: readonly KernelUse[] = Object.values(kernels).map((kernel) => ({
  kernel,
  specialisations: forms,
}));
