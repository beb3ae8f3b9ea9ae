import type { Parameter } from "../../../weights/parameter.ts";
import type { WeightPlan } from "../../../weights/plan.ts";

export type { WeightPlan };

/** A linear layer's weight [N, K] and bias [N]. */
export interface Affine {
  readonly weight: Parameter;
  readonly bias: Parameter;
}

export function affine(plan: WeightPlan, path: string, outputs: number, inputs: number): Affine {
  return {
    weight: plan.matrix(`${path}.weight`, [outputs, inputs]),
    bias: plan.vector(`${path}.bias`, outputs),
  };
}

/** Several layers over the same input, as one product: their rows one below the other. */
export function fused(
  plan: WeightPlan,
  paths: readonly string[],
  outputs: number,
  inputs: number,
): Affine {
  return {
    weight: plan.matrix(paths.map((path) => `${path}.weight`), [outputs, inputs]),
    bias: plan.vector(paths.map((path) => `${path}.bias`), outputs),
  };
}
