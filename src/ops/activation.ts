import source from "../../kernels/activation.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { activations } from "./support/activations.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

const kernel = defineKernel("activation", source);
const kinds = ["silu", "gelu"] as const;

export interface ActivationOptions {
  readonly x: Tensor;
  /** The others are part of products. */
  readonly kind: typeof kinds[number];
  readonly label: string;
}

/** An activation function, element by element. */
export function activation(rec: Recorder, { x, kind, label }: ActivationOptions): Tensor {
  checkTensor("activation", "x", x, x.shape);
  const count = elements(x.shape);
  const width = valueWidth(count);
  const y = rec.alloc(x.shape, label);
  rec.dispatch({
    label: `activation/${label}`,
    kernel,
    specialise: { alias: valueAlias(width), override: { KIND: activations.indexOf(kind) } },
    bindings: { x, y },
    params: { count: count / width },
    grid: flatGrid(count / width),
  });
  return y;
}

export const activationUses: readonly KernelUse[] = [{
  kernel,
  specialisations: kinds.flatMap((kind) =>
    ([1, 4] as const).map((width) => ({
      alias: valueAlias(width),
      override: { KIND: activations.indexOf(kind) },
    }))
  ),
}];
