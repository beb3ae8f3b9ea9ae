/** How a workgroup's invocations share a matrix of outputs, each with a tile of its own. */
export interface LaneLayout {
  /** Invocations side by side over columns; the others lie over rows. */
  readonly lanesN: number;
  /** Workgroups over rows and over columns. */
  readonly groupsM: number;
  readonly groupsN: number;
}

/**
 * The layout that needs fewest workgroups, the widest of equals: which outputs an invocation
 * computes has no influence on their bits.
 */
export function laneLayout(
  [rows, columns]: readonly [number, number],
  [threadM, threadN]: readonly [number, number],
  lanes: number,
): LaneLayout {
  let best: LaneLayout | undefined;
  for (let lanesN = lanes; lanesN >= 1; lanesN /= 2) {
    const groupsM = Math.ceil(rows / (threadM * (lanes / lanesN)));
    const groupsN = Math.ceil(columns / (threadN * lanesN));
    if (!best || groupsM * groupsN < best.groupsM * best.groupsN) {
      best = { lanesN, groupsM, groupsN };
    }
  }
  if (!best) throw new RangeError(`No layout of ${lanes} lanes`);
  return best;
}
