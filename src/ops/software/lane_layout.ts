import type { Groups } from "../support/linear_variant.ts";

/**
 * The layout that needs fewest workgroups, the widest of equals: which outputs an invocation
 * computes has no influence on their bits.
 */
export function laneLayout(
  [rows, columns]: readonly [number, number],
  [threadM, threadN]: readonly [number, number],
  lanes: number,
): Groups {
  let best: Groups | undefined;
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
