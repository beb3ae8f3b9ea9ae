/**
 * Memory that what a program needs at different times can share. A recording knows, when it ends,
 * which command uses what: nobody has to say when an activation is done with.
 */

/** From which command of a program to which something holds values that somebody wants. */
export class Lifetime {
  #first: number | undefined;
  #last: number | undefined;
  #isKept = false;

  /**
   * Command `index` reads it, or writes and perhaps reads it; commands come in their order. What the
   * first command reads was there before, what the last one writes is there for afterwards.
   */
  use(index: number, isWritten: boolean): void {
    this.#first ??= isWritten ? index : -Infinity;
    this.#last = isWritten ? Infinity : index;
  }

  /** It is there for afterwards in any case. */
  keep(): void {
    this.#isKept = true;
  }

  /** Commands from the end of one to the start of the other; not above 0 where they overlap. */
  gapTo(other: Lifetime): number {
    return Math.max(other.first - this.last, this.first - other.last);
  }

  /** What no command uses is there throughout: for whoever took it. */
  get first(): number {
    return this.#first ?? -Infinity;
  }

  get last(): number {
    return this.#isKept ? Infinity : this.#last ?? Infinity;
  }
}

export interface Living {
  readonly life: Lifetime;
}

/**
 * Groups whose members take turns in one memory: the largest is placed first, each beside the one
 * that is closest to it in time.
 *
 * @param items by size, which falls; so the first of each group is its largest
 */
export function takingTurns<T extends Living>(items: readonly T[]): readonly (readonly T[])[] {
  const groups: T[][] = [];
  for (const item of items) {
    const gap = (group: readonly T[]) =>
      Math.min(...group.map(({ life }) => life.gapTo(item.life)));
    const [closest] = groups.map((group) => ({ group, gap: gap(group) }))
      .filter(({ gap }) => gap > 0).sort((a, b) => a.gap - b.gap);
    if (closest) closest.group.push(item);
    else groups.push([item]);
  }
  return groups;
}
