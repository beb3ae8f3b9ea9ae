/**
 * Which family of kernels the devices of a test file run. A matrix sets it before it imports the
 * files whose tests it repeats.
 */
import type { FamilyChoice } from "../src/gpu/adapter.ts";

export const chosen: { kernels: FamilyChoice } = { kernels: "auto" };
