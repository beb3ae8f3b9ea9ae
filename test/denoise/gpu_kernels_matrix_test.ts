/** Batches with the kernels made for GPUs, whatever the adapter. */
import { chosen } from "../chosen_kernels.ts";

chosen.kernels = "gpu";
await import("./batch_invariance_test.ts");
