/**
 * Whose turn it is: deficit round robin (Shreedhar and Varghese, 1996) over groups of members that
 * may share a turn. Each round credits every waiting group with as much device time as the cheapest
 * turn takes, so that many members of one group cannot starve another group.
 */

/** What the order needs to know of a member: see `TurnOrder.add`. */
export interface Placing {
  /** Members with one key may share a turn. */
  readonly key: string;
  /** What a member's part of a turn costs, up to a factor; the same for a whole group. */
  readonly cost: number;
  /** Most members in one turn. */
  readonly limit: () => number;
}

interface Group<T> extends Placing {
  members: T[];
  deficit: number;
}

export class TurnOrder<T> {
  /** In the order of their turns. */
  #groups: Group<T>[] = [];

  /** Members waiting for a turn. */
  get size(): number {
    return this.#groups.reduce((sum, { members }) => sum + members.length, 0);
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const { members } of this.#groups) yield* members;
  }

  /** Puts a member at the end of its group's queue. */
  add(member: T, placing: Placing): void {
    const group = this.#groups.find(({ key }) => key === placing.key);
    if (group) group.members.push(member);
    else this.#groups.push({ ...placing, members: [member], deficit: 0 });
  }

  remove(member: T): void {
    for (const group of this.#groups) {
      group.members = group.members.filter((other) => other !== member);
    }
  }

  /**
   * Takes out the members whose turn it is, oldest first. A group whose members all come back before
   * the next call keeps its credit; a group that is empty then is forgotten.
   */
  next(): T[] | undefined {
    this.#groups = this.#groups.filter(({ members }) => members.length > 0);
    if (this.#groups.length === 0) return undefined;
    const costs = this.#groups.map((group) => group.cost * turnSize(group));
    const quantum = Math.min(...costs);
    // Rounds until each group can pay; the first in the fewest rounds wins.
    const rounds = this.#groups.map(({ deficit }, i) =>
      Math.max(1, Math.ceil((costs[i]! - deficit) / quantum))
    );
    const least = Math.min(...rounds);
    const winner = rounds.indexOf(least);
    for (const [i, group] of this.#groups.entries()) {
      group.deficit += quantum * (i <= winner ? least : least - 1);
    }
    const group = this.#groups[winner]!;
    group.deficit -= costs[winner]!;
    this.#groups = [...this.#groups.slice(winner + 1), ...this.#groups.slice(0, winner + 1)];
    return group.members.splice(0, turnSize(group));
  }
}

function turnSize<T>({ members, limit }: Group<T>): number {
  const most = Math.floor(limit());
  return Math.min(members.length, most >= 1 ? most : 1);
}
