import source from "../../kernels/softmax_rows.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { chunkForm } from "./support/chunk.ts";
import type { KernelUse } from "./support/kernel_use.ts";

const kernel = defineKernel("softmax_rows", source);

export const softmaxRowsUses: KernelUse[] = [
  { kernel, specialisations: [4, 3].map((width) => chunkForm(width).form) },
];

export interface SoftmaxRowsOptions {
  /** [..., C] f32, changed in place. */
  readonly x: Tensor;
  /** Positive factor of the values before the exponential; default 1. */
  readonly scale?: number;
  readonly label: string;
}

/** Softmax over the last axis, in place; returns `x`. */
export function softmaxRows(rec: Recorder, { x, scale = 1, label }: SoftmaxRowsOptions): Tensor {
  const columns = x.shape.at(-1) ?? 0;
  if (columns < 1 || x.dtype !== "f32") {
    throw new TypeError(
      `${label}: Cannot softmax ${x.dtype} [${x.shape}], wanted f32 [..., C > 0]`,
    );
  }
  if (!(scale > 0)) throw new RangeError(`${label}: softmax scale is ${scale}, wanted more than 0`);
  const rows = elements(x.shape) / columns;
  const { form, count } = chunkForm(columns);
  rec.dispatch({
    label: `softmax_rows/${label}`,
    kernel,
    specialise: form,
    bindings: { x },
    params: { row_chunks: count, scale },
    grid: [rows],
  });
  return x;
}
