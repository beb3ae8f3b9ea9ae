import { foldGrid } from "./fold_grid.ts";

/** Invocations of the flat kernels' workgroups: a multiple of every SIMD width in use. */
const flatWorkgroup = 64;

/**
 * A grid of at least `count` invocations. Flat kernels take
 * `(group.y * num_workgroups.x + group.x) * 64 + lane` as index.
 */
export function flatGrid(count: number): readonly [number, number, number] {
  return foldGrid(Math.ceil(count / flatWorkgroup));
}
