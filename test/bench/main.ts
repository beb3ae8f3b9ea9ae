/**
 * `deno task bench`: kernels at SD3.5-medium's and the fixture's shapes; then both backends on one
 * joint block and on the fixture; then what a first start costs.
 */
import { gpu } from "../gpu.ts";
import { blockCases, kernelCases, ownCases } from "./cases/mod.ts";
import { benchColdStart } from "./cold_start_bench.ts";
import { onnxModel, onnxWebGpu, ours } from "./contenders.ts";
import { benchFixture } from "./fixture_bench.ts";
import { runCase } from "./run_case.ts";
import { openSession } from "./session.ts";
import { syntheticCheckpoint } from "./synthetic.ts";

const groups = [...new Set([...kernelCases, ...blockCases].map(({ group }) => group))];
const session = await openSession("bench", [...groups, "fixture", "start"]);
const options = { rounds: 9, seconds: session.seconds };

// First, while this process is small: the new ones share its memory and its processors.
if (session.wants("start")) await benchColdStart(session.add);
for (const bench of [...kernelCases, ...ownCases]) {
  if (!session.wants(bench.group)) continue;
  const checkpoint = syntheticCheckpoint(bench.weights);
  session.add(await runCase(bench, [await ours(gpu, bench, checkpoint)], options));
}
for (const bench of blockCases) {
  if (!session.wants(bench.group)) continue;
  const checkpoint = syntheticCheckpoint(bench.weights);
  const model = await onnxModel(bench, checkpoint);
  const contenders = [await ours(gpu, bench, checkpoint), await onnxWebGpu(gpu, bench, model)];
  session.add(await runCase(bench, contenders, options));
}
if (session.wants("fixture")) await benchFixture(session.seconds, session.add);
session.finish();
