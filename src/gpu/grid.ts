/**
 * Grids of workgroups of any size. A device takes a limited number a dimension, so a larger grid
 * becomes several dispatches: the recorder cuts it, and a kernel adds where its dispatch begins
 * (`params.group_x + group.x`, and likewise y and z) to the workgroup's id.
 */

/** Workgroups in x, y and z, of any number. */
export type Grid = readonly [x: number, y?: number, z?: number];

/** Fields of `Params` that the recorder fills: the piece's first workgroup. */
export const originFields = ["group_x", "group_y", "group_z"] as const;

export interface GridPiece {
  readonly origin: readonly [number, number, number];
  /** At most the limit each. */
  readonly size: readonly [number, number, number];
}

/** The dispatches that a grid becomes where a dimension holds `limit` workgroups; none if empty. */
export function* pieces([x, y = 1, z = 1]: Grid, limit: number): Generator<GridPiece> {
  const starts = (extent: number) =>
    Array.from({ length: Math.ceil(extent / limit) }, (_, i) => i * limit);
  for (const c of starts(z)) {
    for (const b of starts(y)) {
      for (const a of starts(x)) {
        const size = [x - a, y - b, z - c].map((rest) => Math.min(limit, rest));
        yield { origin: [a, b, c], size: size as [number, number, number] };
      }
    }
  }
}

/** Invocations of the flat kernels' workgroups: a multiple of every SIMD width in use. */
const flatWorkgroup = 64;

/** At least `count` invocations, 64 a workgroup: `(params.group_x + group.x) * 64u + lane`. */
export function flatGrid(count: number): Grid {
  return [Math.ceil(count / flatWorkgroup)];
}
