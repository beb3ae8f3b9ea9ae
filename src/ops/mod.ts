/**
 * Every kernel with every specialisation that its op may ask for: the list that the tests compile
 * with both WGSL compilers. One line an op.
 */
import { attentionUses } from "./attention.ts";
import { qkRmsNormUses } from "./qk_rms_norm.ts";
import { softmaxRowsUses } from "./softmax_rows.ts";
import { transposeUses } from "./transpose.ts";
import type { KernelUse } from "./kernel_use.ts";
import { linearUses } from "./linear.ts";
import { resizeRowsUses } from "./resize_rows.ts";

export const kernelUses: readonly KernelUse[] = [
  ...linearUses,
  ...resizeRowsUses,
  ...attentionUses,
  ...qkRmsNormUses,
  ...softmaxRowsUses,
  ...transposeUses,
];
