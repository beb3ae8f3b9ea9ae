import source from "../../kernels/gather_rows.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

export interface GatherRowsOptions {
  /** (B, T, C) */
  readonly x: Tensor;
  /** u32 (B), each below T. */
  readonly rows: Tensor;
  readonly label: string;
}

const kernel = defineKernel("gather_rows", source);

/** One token of each sample, (B, C): how CLIP pools at the end-of-text token. */
export function gatherRows(rec: Recorder, { x, rows, label }: GatherRowsOptions): Tensor {
  checkTensor("gatherRows", "x", x, [null, null, null]);
  const [batch, tokens, channels] = x.shape as [number, number, number];
  checkTensor("gatherRows", "rows", rows, [batch], "u32");
  const width = valueWidth(channels);
  const y = rec.alloc([batch, channels], label);
  const count = batch * channels / width;
  rec.dispatch({
    label: `gatherRows/${label}`,
    kernel,
    specialise: { alias: valueAlias(width) },
    bindings: { x, rows, y },
    params: { count, channels: channels / width, tokens },
    grid: flatGrid(count),
  });
  return y;
}

export const gatherRowsUses: readonly KernelUse[] = [{
  kernel,
  specialisations: [{ alias: valueAlias(1) }, { alias: valueAlias(4) }],
}];
