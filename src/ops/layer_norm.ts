import rowSource from "../../kernels/layer_norm_row.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import { elements, type PerSample, type Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkPerSample, checkTensor } from "./check.ts";
import { flatGrid } from "./grid.ts";
import type { KernelUse } from "./kernel_use.ts";

export interface LayerNormOptions {
  /** (B, S, C) or (R, C); C a multiple of 4. */
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

const rowKernel = defineKernel("layer_norm_row", rowSource);

/** LayerNorm over the last axis, with adaLN's modulation in the same pass. */
export function layerNorm(rec: Recorder, options: LayerNormOptions): Tensor {
  const { x, weight, bias, scale, shift, eps, label } = options;
  const channels = checkChannels("layerNorm", "x", x);
  const batch = x.shape[0]!;
  const rows = elements(x.shape) / channels;
  if (weight) checkTensor("layerNorm", "weight", weight, [channels]);
  if (bias) checkTensor("layerNorm", "bias", bias, [channels]);
  if (!scale !== !shift) throw new TypeError("layerNorm: scale and shift go together");
  if (scale) checkPerSample("layerNorm", "scale", scale, batch, channels);
  if (shift) checkPerSample("layerNorm", "shift", shift, batch, channels);

  const y = rec.alloc(x.shape, label);
  const absent = rec.gpu.absent;
  rec.dispatch({
    label: `layerNorm/${label}`,
    kernel: rowKernel,
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
      rows,
      channels4: channels / 4,
      rows_per_sample: rows / batch,
      scale_offset: (scale?.offset ?? 0) / 4,
      scale_stride: (scale?.stride ?? 0) / 4,
      shift_offset: (shift?.offset ?? 0) / 4,
      shift_stride: (shift?.stride ?? 0) / 4,
      eps,
    },
    grid: flatGrid(rows),
  });
  return y;
}

const flags = [false, true];
const forms = flags.flatMap((HAS_WEIGHT) =>
  flags.flatMap((HAS_BIAS) =>
    flags.map((MODULATED) => ({ override: { HAS_WEIGHT, HAS_BIAS, MODULATED } }))
  )
);

export const layerNormUses: readonly KernelUse[] = [{ kernel: rowKernel, specialisations: forms }];
