import type { Kernel, Specialisation } from "../gpu/kernel.ts";

/** A kernel and the specialisations in which its op runs it. */
export interface KernelUse {
  readonly kernel: Kernel;
  readonly specialisations: readonly Specialisation[];
}
