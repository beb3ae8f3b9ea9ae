/** One computation: all contenders in turn, and whether they computed the same. */
import { nmse } from "../tolerance.ts";
import type { BenchCase } from "./cases/case.ts";
import type { CaseContender } from "./contenders.ts";
import { race, type RaceOptions } from "./race.ts";
import type { Row } from "./report.ts";

/**
 * A contender whose result differs from ours is marked in the report: its time says nothing.
 *
 * @param contenders ours first; all are disposed of
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
    differences.push(Math.max(...wanted.map((values, i) => nmse(outputs[i] ?? [], values))));
  }
  for (const contender of contenders) await contender.dispose();
  const { group, name, flops, bytes } = bench;
  return { group, name, flops, bytes, times, ...(others.length > 0 && { differences }) };
}
