import type { Kernel, Specialisation } from "../../gpu/kernel.ts";
import type { Candidate } from "../../gpu/tuning.ts";

/** A kernel and the specialisations in which its op runs it. */
export interface KernelUse {
  readonly kernel: Kernel;
  readonly specialisations: readonly Specialisation[];
}

/** What an op with several kernels runs: all that may be a candidate, by kernel. */
export function usesOf(variants: readonly Omit<Candidate, "name">[]): KernelUse[] {
  return [...Map.groupBy(variants, ({ kernel }) => kernel)].map(([kernel, forms]) => ({
    kernel,
    specialisations: forms.map(({ specialise }) => specialise),
  }));
}

/** Of workgroup kernels for GPUs: their tiles of f16 weights stay f16, which shader-f16 allows. */
export const halfTiles = { weight4: "vec4h" } as const;
