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

interface Calibration {
  readonly repeats: number;
  spent: number;
  readonly times: number[];
}

/** Every contender warms up, then they take turns. */
export async function race(
  contenders: readonly Contender[],
  { rounds, seconds }: RaceOptions,
): Promise<Time[]> {
  const runners: (Calibration & { readonly contender: Contender })[] = [];
  for (const contender of contenders) {
    await (contender.warmUp?.() ?? contender.run(1));
    runners.push({ contender, ...await calibrate(contender) });
  }
  for (let round = 1; round < rounds; round++) {
    for (const runner of runners) {
      if (runner.spent > 1000 * seconds) continue;
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

/** Finds how often the work is done in a timed run, by a first one. */
async function calibrate(contender: Contender): Promise<Calibration> {
  let repeats = 1;
  for (;;) {
    const elapsed = await time(contender, repeats);
    if (elapsed >= shortestRun || repeats >= mostRepeats) {
      return { repeats, spent: elapsed, times: [elapsed / repeats] };
    }
    const factor = Math.min(16, Math.max(1.2, 1.1 * shortestRun / elapsed));
    repeats = Math.min(mostRepeats, Math.ceil(factor * repeats));
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
