/**
 * How many samples share a step. The largest batch that memory allows is not always worth having:
 * where the device is busy with fewer, more of them only make each other wait. So while there is
 * demand, the batch sizes 1, 2, 4, ... are timed on real steps, and the smallest one that comes close
 * to the best time per row stays. An image does not depend on the batch it was made in, so that
 * measuring in the open changes no result.
 */
import type { TurnReport } from "./denoise_batcher.ts";

export interface BatchLimitsOptions {
  /** Most samples in one step; default 16. */
  readonly ceiling?: number | undefined;
  /** Keeps the ceiling without measuring; default false. */
  readonly fixed?: boolean | undefined;
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
  settled: boolean;
  readonly timings: Map<number, Timing>;
  /** The last step of the size under trial. */
  last: TurnReport | undefined;
}

export class BatchLimits {
  readonly ceiling: number;
  readonly #fixed: boolean;
  readonly #measured = new Map<number, Measured>();
  readonly #memory = new Map<number, number>();

  constructor({ ceiling = defaultCeiling, fixed = false }: BatchLimitsOptions = {}) {
    if (!Number.isInteger(ceiling) || ceiling < 1) {
      throw new RangeError(`The largest batch must be a whole number from 1 on, not ${ceiling}`);
    }
    this.ceiling = ceiling;
    this.#fixed = fixed;
  }

  /** Most samples in one step of images of this many tokens. */
  readonly limit = (tokens: number): number => {
    const most = this.most(tokens);
    return this.#fixed ? most : Math.min(most, this.#of(tokens).size);
  };

  /** What memory allows for images of this many tokens. */
  most(tokens: number): number {
    return Math.min(this.ceiling, this.#memory.get(tokens) ?? this.ceiling);
  }

  /** Memory was planned for so many samples of so many tokens and no more. */
  bound(tokens: number, samples: number): void {
    this.#memory.set(tokens, Math.min(samples, this.most(tokens)));
  }

  /** Learns from a step that is done. */
  readonly observe = (turn: TurnReport): void => {
    if (this.#fixed) return;
    const measured = this.#of(turn.tokens);
    if (measured.settled || turn.samples !== measured.size) return;
    const { last } = measured;
    measured.last = turn;
    if (!last) return;
    // Some runtimes report two steps in flight at once, after both: then only their sum is known.
    const seconds = (turn.step + last.step) / (turn.rows + last.rows);
    const timing = measured.timings.get(turn.samples) ?? { seconds: Infinity, count: 0 };
    measured.timings.set(turn.samples, timing);
    timing.seconds = Math.min(timing.seconds, seconds);
    if (++timing.count >= trials) this.#advance(turn.tokens, measured);
  };

  #advance(tokens: number, measured: Measured): void {
    measured.last = undefined;
    if (measured.size * 2 <= this.most(tokens)) {
      measured.size *= 2;
      return;
    }
    const timings = [...measured.timings];
    const best = Math.min(...timings.map(([, { seconds }]) => seconds));
    const enough = timings.find(([, { seconds }]) => seconds * (1 - worthwhile) <= best);
    measured.size = enough![0];
    measured.settled = true;
  }

  #of(tokens: number): Measured {
    let measured = this.#measured.get(tokens);
    if (!measured) {
      this.#measured.set(
        tokens,
        measured = {
          size: 1,
          settled: false,
          timings: new Map(),
          last: undefined,
        },
      );
    }
    return measured;
  }
}
