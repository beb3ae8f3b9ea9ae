/** What the kernels of the convolution from buffers have in common. */
import type { DType } from "../../gpu/tensor.ts";
import type { Candidate } from "../../gpu/tuning.ts";
import type { Groups } from "./linear_variant.ts";

export interface Conv2dVariant extends Candidate {
  /** Of `lines` lines of `width` pixels with `outputs` outputs each. */
  layout(lines: number, width: number, outputs: number): Groups;
}

/** What the choice depends on. */
export interface Conv2dShape {
  readonly dtype: DType;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: "same" | "asymmetric";
  /** Of one sample. */
  readonly pixels: number;
  readonly outputs: number;
}
