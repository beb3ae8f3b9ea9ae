/** onnxruntime's WebAssembly provider: the CPU without a GPU in between. */
import type { BenchCase } from "./cases/case.ts";
import type { CaseContender } from "./contenders.ts";
import type { WasmAnswer, WasmRequest } from "./wasm_worker.ts";

export interface WasmRuntime {
  open(bench: BenchCase, model: Uint8Array<ArrayBuffer>): Promise<CaseContender>;
  stop(): void;
}

/**
 * Starts a runtime with its own thread, before the WebGPU provider's first session: Deno 2.9 starts
 * no worker afterwards.
 *
 * @param model any small one
 */
export async function startWasm(
  threads: number,
  model: Uint8Array<ArrayBuffer>,
): Promise<WasmRuntime> {
  const worker = new Worker(new URL("wasm_worker.ts", import.meta.url), { type: "module" });
  const ask = async (request: WasmRequest) => {
    const answer = Promise.withResolvers<WasmAnswer>();
    worker.onmessage = ({ data }: MessageEvent<WasmAnswer>) => answer.resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      answer.resolve({ type: "failed", message: event.message });
    };
    worker.postMessage(request);
    const result = await answer.promise;
    if (result.type === "failed") throw new Error(`onnxruntime wasm: ${result.message}`);
    return result;
  };
  await ask({ type: "start", threads, model });
  return {
    async open(bench, model) {
      await ask({ type: "open", model, inputs: bench.inputs() });
      return {
        name: `onnxruntime wasm, ${threads} ${threads === 1 ? "thread" : "threads"}`,
        run: async (count) => void await ask({ type: "run", count }),
        async outputs() {
          const answer = await ask({ type: "outputs" });
          return answer.type === "outputs" ? answer.outputs : [];
        },
        dispose: async () => void await ask({ type: "close" }),
      };
    },
    stop: () => worker.terminate(),
  };
}
