/**
 * How many images share a step. The largest batch that memory allows is not always worth having:
 * where the device is busy with fewer, more of them only make each other wait. So while there is
 * demand, the batch sizes 1, 2, 4, ... are timed on real steps, and the smallest one that comes close
 * to the best time per row stays. An image does not depend on the batch it was made in, so that
 * measuring in the open changes no result.
 */
import type { BatchEntry } from "../gpu/tuning_cache.ts";
import type { TurnReport } from "./batcher.ts";
import type { BatchReport } from "../engine/types.ts";

export interface BatchLimitsOptions {
  /** Most images in one step; default 16. */
  readonly ceiling?: number | undefined;
  /** Keeps the ceiling without measuring; default false. */
  readonly fixed?: boolean | undefined;
  /** What an earlier process has settled on for images of this many tokens. */
  readonly known?: ((tokens: number) => BatchEntry | undefined) | undefined;
  /** Hears what is settled on. */
  readonly onSettled?: ((tokens: number, entry: BatchEntry) => void) | undefined;
}

const defaultCeiling = 16;
/** Pairs of steps timed for each batch size; the fastest counts, since other work only slows steps down. */
const trials = 5;
/** A larger batch must save more than this part of the time per row. */
const worthwhile = 0.03;

interface Timing {
  /** Fastest seconds for each row. */
  seconds: number;
  count: number;
}

interface Measured {
  /** The batch size under trial, or the one chosen. */
  size: number;
  settled: BatchReport["source"];
  readonly timings: Map<number, Timing>;
  /** The last step of the size under trial. */
  last: TurnReport | undefined;
}

export class BatchLimits {
  readonly ceiling: number;
  readonly #fixed: boolean;
  readonly #options: BatchLimitsOptions;
  readonly #measured = new Map<number, Measured>();
  readonly #memory = new Map<number, number>();

  constructor(options: BatchLimitsOptions = {}) {
    const { ceiling = defaultCeiling, fixed = false } = options;
    if (!Number.isInteger(ceiling) || ceiling < 1) {
      throw new RangeError(`The largest batch must be a whole number from 1 on, not ${ceiling}`);
    }
    this.ceiling = ceiling;
    this.#fixed = fixed;
    this.#options = options;
  }

  /** Most images in one step of images of this many tokens. */
  readonly limit = (tokens: number): number => {
    return Math.min(this.most(tokens), this.#of(tokens).size);
  };

  /** What memory allows for images of this many tokens. */
  most(tokens: number): number {
    return Math.min(this.ceiling, this.#memory.get(tokens) ?? this.ceiling);
  }

  /** Memory was planned for so many images of so many tokens and no more. */
  bound(tokens: number, images: number): void {
    this.#memory.set(tokens, Math.min(images, this.most(tokens)));
  }

  /** Learns from a step that is done. */
  readonly observe = (turn: TurnReport): void => {
    const measured = this.#of(turn.tokens);
    if (measured.settled !== "measuring" || turn.images !== measured.size) return;
    const { last } = measured;
    measured.last = turn;
    if (!last) return;
    // Some runtimes report two steps in flight at once, after both: then only their sum is known.
    const seconds = (turn.step + last.step) / (turn.rows + last.rows);
    const timing = measured.timings.get(turn.images) ?? { seconds: Infinity, count: 0 };
    measured.timings.set(turn.images, timing);
    timing.seconds = Math.min(timing.seconds, seconds);
    if (++timing.count >= trials) this.#advance(turn.tokens, measured);
  };

  /** Whether nothing is left to measure for images of this many tokens. */
  isSettled(tokens: number): boolean {
    return this.#of(tokens).settled !== "measuring";
  }

  /** Settles with the sizes timed so far, if the largest of them was no gain. */
  conclude(tokens: number): void {
    if (this.isSettled(tokens)) return;
    const measured = this.#of(tokens);
    const timed = [...measured.timings].filter(([, { count }]) => count >= trials);
    const enough = smallestEnough(timed);
    const tried = timed.at(-1)?.[0];
    if (enough !== undefined && enough !== tried) this.#settle(tokens, measured, enough, tried!);
  }

  /** What is used, by tokens. */
  report(): BatchReport[] {
    return [...this.#measured].map(([tokens, { settled }]) => ({
      tokens,
      images: this.limit(tokens),
      source: settled,
    }));
  }

  #advance(tokens: number, measured: Measured): void {
    measured.last = undefined;
    if (measured.size * 2 <= this.most(tokens)) {
      measured.size *= 2;
      return;
    }
    this.#settle(tokens, measured, smallestEnough([...measured.timings])!, measured.size);
  }

  #settle(tokens: number, measured: Measured, images: number, tried: number): void {
    measured.size = images;
    measured.settled = "measured";
    this.#options.onSettled?.(tokens, { images, tried });
  }

  #start(tokens: number, size: number, settled: Measured["settled"]): Measured {
    const measured = { size, settled, timings: new Map<number, Timing>(), last: undefined };
    this.#measured.set(tokens, measured);
    return measured;
  }

  #of(tokens: number): Measured {
    let measured = this.#measured.get(tokens);
    if (!measured) {
      if (this.#fixed) return this.#start(tokens, this.ceiling, "fixed");
      const known = this.#options.known?.(tokens);
      // A larger batch may pay than was tried where there was less memory.
      const isFinal = known && (known.images < known.tried || 2 * known.tried > this.most(tokens));
      measured = isFinal
        ? this.#start(tokens, known.images, "cached")
        : this.#start(tokens, 1, "measuring");
    }
    return measured;
  }
}

/** The smallest size whose time per row comes close to the best. */
function smallestEnough(timings: readonly (readonly [number, Timing])[]): number | undefined {
  const best = Math.min(...timings.map(([, { seconds }]) => seconds));
  return timings.find(([, { seconds }]) => seconds * (1 - worthwhile) <= best)?.[0];
}
