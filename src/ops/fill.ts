import source from "../../kernels/fill.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

export interface FillOptions {
  readonly into: Tensor;
  readonly value: number;
  readonly label?: string;
}

const kernel = defineKernel("fill", source);

/** Sets every element of `into`, and returns it. */
export function fill(rec: Recorder, { into, value, label = into.label }: FillOptions): Tensor {
  checkTensor("fill", "into", into, into.shape);
  const count = elements(into.shape);
  const width = valueWidth(count);
  rec.dispatch({
    label: `fill/${label}`,
    kernel,
    specialise: { alias: valueAlias(width) },
    bindings: { into },
    params: { count: count / width, value },
    grid: flatGrid(count / width),
  });
  return into;
}

export const fillUses: readonly KernelUse[] = [{
  kernel,
  specialisations: [{ alias: valueAlias(1) }, { alias: valueAlias(4) }],
}];
