import source from "../../kernels/qk_rms_norm.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { headForm, headWidths } from "./support/chunk.ts";
import type { KernelUse } from "./support/kernel_use.ts";

const kernel = defineKernel("qk_rms_norm", source);

export const qkRmsNormUses: KernelUse[] = [
  { kernel, specialisations: headWidths.map((width): Specialisation => headForm(width)) },
];

export interface QkRmsNormOptions {
  /** [B, S, 3*H*D] f32: q | k | v along the last axis; q and k change in place. */
  readonly qkv: Tensor;
  readonly heads: number;
  readonly headDim: number;
  /** [D] f32. */
  readonly qWeight: Tensor;
  /** [D] f32. */
  readonly kWeight: Tensor;
  readonly eps: number;
  readonly label: string;
}

/** RMS norm of each head's query and key, in place; returns `qkv`. SD3.5's `qk_norm: "rms_norm"`. */
export function qkRmsNorm(
  rec: Recorder,
  { qkv, heads, headDim, qWeight, kWeight, eps, label }: QkRmsNormOptions,
): Tensor {
  if (qkv.shape.at(-1) !== 3 * heads * headDim) {
    throw new TypeError(
      `${label}: qkv is [${qkv.shape}], wanted [..., ${
        3 * heads * headDim
      }] (3 x ${heads} x ${headDim})`,
    );
  }
  for (const weight of [qWeight, kWeight]) {
    if (elements(weight.shape) !== headDim) {
      throw new TypeError(`${label}: ${weight.label} is [${weight.shape}], wanted [${headDim}]`);
    }
  }
  const rows = elements(qkv.shape) / headDim / 3;
  rec.dispatch({
    label: `qk_rms_norm/${label}`,
    kernel,
    specialise: headForm(headDim),
    bindings: { qkv, q_weight: qWeight, k_weight: kWeight },
    params: { rows, heads, head_dim: headDim, epsilon: eps },
    grid: [Math.ceil(rows / 64), 2],
  });
  return qkv;
}
