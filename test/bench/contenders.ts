/** A case as something that can be timed: our kernels, and onnxruntime's providers. */
import type { Gpu } from "../../src/gpu/device.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { GraphBuilder } from "../../src/backends/onnx/export/graph.ts";
import { writeModel } from "../../src/backends/onnx/export/mod.ts";
import { createSession, OrtTensor, runSession } from "../../src/backends/onnx/runtime.ts";
import type { Checkpoint } from "../../src/weights/checkpoint.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { type Files, memorySink } from "../backends/onnx/memory_sink.ts";
import type { BenchCase, HostTensors } from "./cases/case.ts";
import type { Contender } from "./race.ts";

export interface CaseContender extends Contender {
  /** Every output in the order and layout of the ONNX graph; after a run. */
  outputs(): Promise<readonly Float32Array[]>;
  dispose(): Promise<void>;
}

export async function ours(
  gpu: Gpu,
  bench: BenchCase,
  checkpoint: Checkpoint,
): Promise<CaseContender> {
  const declared = new DeclaredWeights("bench");
  const record = bench.wgsl(declared);
  await declared.load(checkpoint, gpu, { weightType: bench.weightType });
  const graphInputs = bench.inputs();
  const host = bench.wgslInputs?.(graphInputs) ?? graphInputs;
  const inputs = uploadAll(gpu, host);
  const rec = gpu.record(bench.name);
  const results = record(rec, inputs);
  const program = await rec.finish();
  return {
    name: "ours",
    async run(count) {
      await gpu.submit(bench.name, (encoder) => {
        for (let i = 0; i < count; i++) program.replay(encoder);
      });
      await gpu.idle();
    },
    async outputs() {
      // Some computations change their input.
      for (const [name, { data }] of Object.entries(host)) gpu.write(inputs[name]!, data);
      await gpu.run(program);
      const values = [];
      for (const result of results) {
        values.push({ shape: result.shape, data: await gpu.readFloats(result) });
      }
      return (bench.toGraphOrder?.(values) ?? values).map(({ data }) => data);
    },
    dispose() {
      program.dispose();
      declared.dispose();
      gpu.destroyTensor(...Object.values(inputs));
      return Promise.resolve();
    },
  };
}

function uploadAll(gpu: Gpu, host: HostTensors): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(host).map(([name, { data, shape }]) => [
      name,
      gpu.upload(data, shape, name, "other"),
    ]),
  );
}

/** The case as an ONNX file: f16 weights as stored, widened while it loads; arithmetic in f32. */
export async function onnxModel(
  bench: BenchCase,
  checkpoint: Checkpoint,
): Promise<Uint8Array<ArrayBuffer>> {
  const builder = new GraphBuilder("bench", checkpoint, "f32");
  const inputs = Object.fromEntries(
    Object.entries(bench.inputs()).map(([name, { shape }]) => [
      name,
      builder.input(name, "f32", shape),
    ]),
  );
  for (const [i, [value, dims]] of bench.graph(builder, inputs).entries()) {
    builder.output(`output_${i}`, value, dims);
  }
  const files: Files = new Map();
  await writeModel(builder, memorySink(files), "bench");
  return files.get("bench/model.onnx")!;
}

/** Above this onnxruntime takes so long that what its first run compiles does not show. */
const slowFlops = 2e10;

/** onnxruntime's native WebGPU provider on our device; inputs and outputs stay there. */
export async function onnxWebGpu(
  gpu: Gpu,
  bench: BenchCase,
  model: Uint8Array<ArrayBuffer>,
): Promise<CaseContender> {
  const session = await createSession(gpu, bench.name, model, []);
  const inputs = uploadAll(gpu, bench.inputs());
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { storage, shape }]) => [
      name,
      OrtTensor.fromGpuBuffer(storage.buffer, { dataType: "float32", dims: [...shape] }),
    ]),
  );
  let results: Readonly<Record<string, OrtTensor>> = {};
  const forget = () => Object.values(results).forEach((tensor) => tensor.dispose());
  return {
    name: "onnxruntime WebGPU",
    ...((bench.flops ?? 0) > slowFlops && { warmUp: () => Promise.resolve() }),
    async run(count) {
      for (let i = 0; i < count; i++) {
        forget();
        results = await runSession(gpu, bench.name, session, feeds, session.outputNames);
      }
      await gpu.idle();
    },
    outputs() {
      return Promise.all(session.outputNames.map((name) => {
        const { gpuBuffer: buffer, dims } = results[name]!;
        const byteLength = 4 * dims.reduce((product, extent) => product * extent, 1);
        const view = { label: name, shape: dims, dtype: "f32", byteOffset: 0, byteLength } as const;
        return gpu.readFloats({ ...view, storage: { buffer } });
      }));
    },
    async dispose() {
      forget();
      await session.release();
      gpu.destroyTensor(...Object.values(inputs));
    },
  };
}
