/** Invocations of the flat kernels' workgroups: a multiple of every SIMD width in use. */
export const flatWorkgroup = 64;

const widest = 65535;

/**
 * A grid of at least `count` invocations, folded into y where x alone would pass the limit of
 * workgroups in one dimension. Flat kernels take `(y * num_workgroups.x + x) * 64 + lane` as index.
 */
export function flatGrid(count: number): readonly [number, number, number] {
  return foldedGrid(Math.ceil(count / flatWorkgroup));
}

/** At least `groups` workgroups, `y * num_workgroups.x + x` their number. */
export function foldedGrid(groups: number): readonly [number, number, number] {
  const rows = Math.ceil(groups / widest);
  return [rows === 0 ? 0 : Math.ceil(groups / rows), rows, 1];
}
