import source from "../../kernels/add.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type PerSample, type Tensor } from "../gpu/tensor.ts";
import { checkChannels, checkPerSample, checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

export interface AddOptions {
  /** (B, ..., C), as `into`. */
  readonly x: Tensor;
  /** Changed in place. */
  readonly into: Tensor;
  /** adaLN's gate: `into += gate * x`; C a multiple of 4. */
  readonly gate?: PerSample | undefined;
  readonly label: string;
}

const kernel = defineKernel("add", source);

/** A residual connection: adds x to `into`, and returns `into`. */
export function add(rec: Recorder, { x, into, gate, label }: AddOptions): Tensor {
  checkTensor("add", "x", x, into.shape);
  checkTensor("add", "into", into, x.shape);
  const batch = x.shape[0]!;
  const count = elements(x.shape);
  if (gate) checkPerSample("add", "gate", gate, batch, checkChannels("add", "x", x));
  const width = gate ? 4 : valueWidth(count);
  rec.dispatch({
    label: `add/${label}`,
    kernel,
    specialise: { alias: valueAlias(width), override: { GATED: !!gate } },
    bindings: { x, gate: gate?.tensor ?? rec.gpu.absent, into },
    params: {
      count: count / width,
      channels: gate ? x.shape.at(-1)! / width : 1,
      per_sample: gate ? count / batch / width : 1,
      gate_offset: (gate?.offset ?? 0) / width,
      gate_stride: (gate?.stride ?? 0) / width,
    },
    grid: flatGrid(count / width),
  });
  return into;
}

export const addUses: readonly KernelUse[] = [{
  kernel,
  specialisations: [
    { alias: valueAlias(1), override: { GATED: false } },
    { alias: valueAlias(4), override: { GATED: false } },
    { alias: valueAlias(4), override: { GATED: true } },
  ],
}];
