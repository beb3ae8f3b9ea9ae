import { attentionCases } from "./attention.ts";
import type { BenchCase } from "./case.ts";
import { conv2dCases } from "./conv2d.ts";
import { jointBlockCases } from "./joint_block.ts";
import { linearCases, quantizedLinearCases } from "./linear.ts";
import { normCases } from "./norms.ts";

export const kernelCases: readonly BenchCase[] = [
  ...linearCases,
  ...attentionCases,
  ...conv2dCases,
  ...normCases,
];

export const blockCases: readonly BenchCase[] = jointBlockCases;

/** What no graph of standard operators does. */
export const ownCases: readonly BenchCase[] = quantizedLinearCases;
