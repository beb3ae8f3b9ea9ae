import source from "../../kernels/upsample_nearest.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./check.ts";
import type { KernelUse } from "./kernel_use.ts";
import { valueAlias, valueWidth } from "./values.ts";

export interface UpsampleNearestOptions {
  /** (B, H, W, C) */
  readonly x: Tensor;
  readonly label: string;
}

const kernel = defineKernel("upsample_nearest", source);

/** Every pixel becomes two by two: (B, 2H, 2W, C). */
export function upsampleNearest(rec: Recorder, { x, label }: UpsampleNearestOptions): Tensor {
  checkTensor("upsampleNearest", "x", x, [null, null, null, null]);
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const perInvocation = valueWidth(channels);
  const y = rec.alloc([batch, 2 * height, 2 * width, channels], label);
  const count = elements(x.shape) / perInvocation;
  rec.dispatch({
    label: `upsampleNearest/${label}`,
    kernel,
    specialise: { alias: valueAlias(perInvocation) },
    bindings: { x, y },
    params: { count, channels: channels / perInvocation, width },
    grid: flatGrid(count),
  });
  return y;
}

export const upsampleNearestUses: readonly KernelUse[] = [{
  kernel,
  specialisations: [{ alias: valueAlias(1) }, { alias: valueAlias(4) }],
}];
