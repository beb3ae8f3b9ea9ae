import source from "../../kernels/activation.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

/** transformers' names: "gelu" is exact (erf), "gelu_tanh" the approximation ("gelu_new"). */
export type Activation = "silu" | "gelu" | "gelu_tanh" | "quick_gelu";

const kinds: Record<Activation, number> = { silu: 0, gelu: 1, gelu_tanh: 2, quick_gelu: 3 };

export interface ActivationOptions {
  readonly x: Tensor;
  readonly kind: Activation;
  readonly label: string;
}

const kernel = defineKernel("activation", source);

/** An activation function, element by element. */
export function activation(rec: Recorder, { x, kind, label }: ActivationOptions): Tensor {
  checkTensor("activation", "x", x, x.shape);
  const count = elements(x.shape);
  const width = valueWidth(count);
  const y = rec.alloc(x.shape, label);
  rec.dispatch({
    label: `activation/${label}`,
    kernel,
    specialise: { alias: valueAlias(width), override: { KIND: kinds[kind] } },
    bindings: { x, y },
    params: { count: count / width },
    grid: flatGrid(count / width),
  });
  return y;
}

export const activationUses: readonly KernelUse[] = [{
  kernel,
  specialisations: Object.values(kinds).flatMap((KIND) =>
    ([1, 4] as const).map((width) => ({ alias: valueAlias(width), override: { KIND } }))
  ),
}];
