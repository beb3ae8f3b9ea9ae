import type { Kernel, Specialisation } from "../gpu/kernel.ts";

/** A kernel and the specialisations in which its op runs it. */
export interface KernelUse {
  readonly kernel: Kernel;
  readonly specialisations: readonly Specialisation[];
}

/** Of workgroup kernels for GPUs: their tiles of f16 weights stay f16, which shader-f16 allows. */
export const halfTiles = { weight4: "vec4h" } as const;
