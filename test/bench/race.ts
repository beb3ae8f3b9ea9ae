/** Times contenders in turn, so that a machine that slows down slows all of them. */

export interface Contender {
  readonly name: string;
  /** Does the work `count` times and waits until the device has done it. */
  run(count: number): Promise<void>;
  /** In place of a first `run(1)`, where that would take too long. */
  warmUp?(): Promise<void>;
}

/** Milliseconds for the work once. */
export interface Time {
  readonly name: string;
  readonly best: number;
  readonly median: number;
  readonly rounds: number;
}

export interface RaceOptions {
  /** Rounds that each contender runs at most. */
  readonly rounds: number;
  /** Seconds after which a contender runs no further round; each runs one at least. */
  readonly seconds: number;
}

/**
 * Work is repeated until a run takes this many milliseconds: waiting for the device ends up to 11
 * ms late where the runtime polls.
 */
const shortestRun = 250;
const mostRepeats = 2000;

/** Every contender warms up, then they take turns. */
export async function race(
  contenders: readonly Contender[],
  { rounds, seconds }: RaceOptions,
): Promise<Time[]> {
  const runners: { contender: Contender; repeats: number; spent: number; times: number[] }[] = [];
  for (const contender of contenders) {
    await (contender.warmUp?.() ?? contender.run(1));
    runners.push({ contender, repeats: await calibrate(contender), spent: 0, times: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const runner of runners) {
      if (runner.times.length > 0 && runner.spent > 1000 * seconds) continue;
      const elapsed = await time(runner.contender, runner.repeats);
      runner.spent += elapsed;
      runner.times.push(elapsed / runner.repeats);
    }
  }
  return runners.map(({ contender: { name }, times }) => ({
    name,
    best: Math.min(...times),
    median: median(times),
    rounds: times.length,
  }));
}

/** How often the work is done in one timed run. */
async function calibrate(contender: Contender): Promise<number> {
  // Then one run is long enough for sure, and trying it out would cost too much.
  if (contender.warmUp) return 1;
  let repeats = 1;
  for (;;) {
    const elapsed = await time(contender, repeats);
    if (elapsed >= shortestRun / 2 || repeats >= mostRepeats) {
      return Math.min(mostRepeats, Math.ceil(repeats * Math.max(1, shortestRun / elapsed)));
    }
    repeats = Math.min(mostRepeats, repeats * Math.ceil(Math.min(16, shortestRun / elapsed)));
  }
}

async function time(contender: Contender, repeats: number): Promise<number> {
  const started = performance.now();
  await contender.run(repeats);
  return performance.now() - started;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
