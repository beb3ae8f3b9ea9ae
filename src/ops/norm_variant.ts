import type { Gpu } from "../gpu/device.ts";

/** "row": an invocation a row, for software adapters; "workgroup": 64 invocations a row, for GPUs. */
export type NormVariant = "row" | "workgroup";

/** Depends on the adapter alone, so that the same numbers come from any batch. */
export function normVariant(gpu: Gpu): NormVariant {
  return gpu.adapter.isSoftware ? "row" : "workgroup";
}
