/** One computation: all contenders in turn, and whether they computed the same. */
import { nmse } from "../tolerance.ts";
import type { BenchCase } from "./cases/case.ts";
import type { CaseContender } from "./contenders.ts";
import { race, type RaceOptions } from "./race.ts";
import type { Row } from "./report.ts";

/** Weights are the same f16 for all and arithmetic is f32: only the order of sums differs. */
const limit = 1e-6;

/**
 * @param contenders ours first; all are disposed of
 * @throws {Error} if a contender's result differs from ours: then its time says nothing
 */
export async function runCase(
  bench: BenchCase,
  contenders: readonly CaseContender[],
  options: RaceOptions,
): Promise<Row> {
  const times = await race(contenders, options);
  const [own, ...others] = contenders;
  const wanted = others.length > 0 ? await own!.outputs() : [];
  const differences = [];
  for (const other of others) {
    const outputs = await other.outputs();
    const difference = Math.max(...wanted.map((values, i) => nmse(outputs[i] ?? [], values)));
    if (!(difference <= limit)) {
      throw new Error(`${bench.name}: ${other.name} differs from ours, NMSE ${difference}`);
    }
    differences.push(difference);
  }
  for (const contender of contenders) await contender.dispose();
  const { group, name, flops, bytes } = bench;
  return { group, name, flops, bytes, times, ...(others.length > 0 && { differences }) };
}
