/**
 * `deno task bench:peers`: the networks' computations on our kernels and on onnxruntime-web's WebGPU
 * and WebAssembly providers, in turn, in one process, on one device. The graphs hold standard
 * operators; weights are stored as f16 and widened while a graph loads, arithmetic is f32.
 *
 * On Mesa's llvmpipe with AVX-512 our kernels gain by 512-bit vectors and the WebGPU provider's lose:
 * run it once more with LP_NATIVE_VECTOR_WIDTH=256 in the environment to see that provider's best.
 */
import { gpu } from "../gpu.ts";
import { blockCases, kernelCases } from "./cases/mod.ts";
import { onnxModel, onnxWebGpu, ours } from "./contenders.ts";
import { startWasm } from "./onnx_wasm.ts";
import { runCase } from "./run_case.ts";
import { openSession } from "./session.ts";
import { syntheticCheckpoint } from "./synthetic.ts";

const cases = [...kernelCases, ...blockCases];
const session = await openSession("bench:peers", [...new Set(cases.map(({ group }) => group))]);

const [first] = cases;
const checkpoint = syntheticCheckpoint(first!.weights);
const anyModel = await onnxModel(first!, checkpoint);
const runtimes = [await startWasm(1, anyModel), await startWasm(2, anyModel)];

for (const bench of cases) {
  if (!session.wants(bench.group)) continue;
  const checkpoint = syntheticCheckpoint(bench.weights);
  const model = await onnxModel(bench, checkpoint);
  const contenders = [
    await ours(gpu, bench, checkpoint),
    await onnxWebGpu(gpu, bench, model),
  ];
  for (const runtime of runtimes) contenders.push(await runtime.open(bench, model));
  session.add(await runCase(bench, contenders, { rounds: 7, seconds: session.seconds }));
}
for (const runtime of runtimes) runtime.stop();
session.finish();
