import source from "../../kernels/gated_gelu.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkChannels } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface GatedGeluOptions {
  /** (..., 2F): T5's `wi_0` beside its `wi_1`; F a multiple of 4. */
  readonly x: Tensor;
  readonly label: string;
}

const kernel = defineKernel("gated_gelu", source);

/** T5's gated-gelu: `gelu_new(x[..., :F]) * x[..., F:]`, (..., F). */
export function gatedGelu(rec: Recorder, { x, label }: GatedGeluOptions): Tensor {
  const doubled = checkChannels("gatedGelu", "x", x);
  if (doubled % 8 !== 0) {
    throw new TypeError(`gatedGelu: x (${x.label}) is [${x.shape}], wanted halves of 4n channels`);
  }
  const shape = [...x.shape.slice(0, -1), doubled / 2];
  const y = rec.alloc(shape, label);
  const count = elements(shape) / 4;
  rec.dispatch({
    label: `gatedGelu/${label}`,
    kernel,
    bindings: { x, y },
    params: { count, channels4: doubled / 8 },
    grid: flatGrid(count),
  });
  return y;
}

export const gatedGeluUses: readonly KernelUse[] = [{ kernel, specialisations: [{}] }];
