const widest = 32768;

/** `groups` workgroups as a grid of at most 32768 in x: kernels index by y * grid_x + x. */
export function foldGrid(groups: number): readonly [number, number, number] {
  const x = Math.min(groups, widest);
  return [x, Math.ceil(groups / Math.max(1, x)), 1];
}
