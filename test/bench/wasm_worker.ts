/// <reference lib="deno.worker" />
/**
 * onnxruntime's WebAssembly provider in a thread of its own: the number of its threads is fixed with
 * the first session of a runtime, so that each number needs a runtime.
 */
// the order of these three matters
import "../../src/backends/onnx/location_hidden.ts";
import * as ort from "onnxruntime-web/wasm";
import "../../src/backends/onnx/location_restored.ts";
import type { HostTensors } from "./cases/case.ts";

export type WasmRequest =
  | {
    readonly type: "start";
    readonly threads: number;
    /** Opened and closed, so that the runtime is there. */
    readonly model: Uint8Array<ArrayBuffer>;
  }
  | {
    readonly type: "open";
    readonly model: Uint8Array<ArrayBuffer>;
    readonly inputs: HostTensors;
  }
  | { readonly type: "run"; readonly count: number }
  | { readonly type: "outputs" }
  | { readonly type: "close" };

export type WasmAnswer =
  | { readonly type: "done" }
  | { readonly type: "outputs"; readonly outputs: readonly Float32Array[] }
  | { readonly type: "failed"; readonly message: string };

ort.env.logLevel = "error";

let session: ort.InferenceSession | undefined;
let feeds: Record<string, ort.Tensor> = {};
let results: ort.InferenceSession.OnnxValueMapType = {};

globalThis.onmessage = async ({ data }: MessageEvent<WasmRequest>) => {
  let answer: WasmAnswer;
  try {
    answer = await respond(data);
  } catch (error) {
    answer = { type: "failed", message: error instanceof Error ? error.message : String(error) };
  }
  globalThis.postMessage(answer);
};

async function respond(request: WasmRequest): Promise<WasmAnswer> {
  if (request.type === "start") {
    ort.env.wasm.numThreads = request.threads;
    if (request.threads > 1) useFileUrls();
    await (await create(request.model)).release();
    if (ort.env.wasm.numThreads !== request.threads) {
      throw new Error(`onnxruntime runs ${ort.env.wasm.numThreads} threads here`);
    }
  } else if (request.type === "open") {
    session = await create(request.model);
    feeds = Object.fromEntries(
      Object.entries(request.inputs).map(([name, { data, shape }]) => [
        name,
        new ort.Tensor("float32", data, shape),
      ]),
    );
  } else if (request.type === "run") {
    for (let i = 0; i < request.count; i++) results = await session!.run(feeds);
  } else if (request.type === "outputs") {
    const outputs = session!.outputNames.map((name) => results[name]!.data as Float32Array);
    return { type: "outputs", outputs };
  } else {
    await session!.release();
    results = {};
  }
  return { type: "done" };
}

function create(model: Uint8Array<ArrayBuffer>): Promise<ort.InferenceSession> {
  return ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

/** For its threads onnxruntime imports its loader from a blob, which Deno's npm packages cannot. */
function useFileUrls(): void {
  const beside = (file: string) => new URL(file, import.meta.resolve("onnxruntime-web/wasm")).href;
  const mjs = beside("ort-wasm-simd-threaded.mjs");
  ort.env.wasm.wasmPaths = { mjs, wasm: beside("ort-wasm-simd-threaded.wasm") };
  URL.createObjectURL = () => mjs;
}
