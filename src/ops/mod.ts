/**
 * Every kernel with every specialisation that its op may ask for: the list that the tests compile
 * with both WGSL compilers. One line an op.
 */
import type { KernelUse } from "./kernel_use.ts";

export const kernelUses: readonly KernelUse[] = [];
