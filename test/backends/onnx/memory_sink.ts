/** Exported files in memory, and a session over them. */
import * as ort from "onnxruntime-web/webgpu";
import type { FileSink } from "../../../src/weights/sink.ts";

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

export type Files = Map<string, Uint8Array<ArrayBuffer>>;

export function memorySink(files: Files): FileSink {
  return {
    create: (path) => {
      const parts: Uint8Array<ArrayBuffer>[] = [];
      return Promise.resolve({
        // a writer may reuse its array
        write: (bytes) => Promise.resolve(void parts.push(bytes.slice())),
        close: async () => {
          files.set(path, new Uint8Array(await new Blob(parts).arrayBuffer()));
        },
      });
    },
  };
}

/** A session on the WebAssembly provider: float32 on the CPU, no device needed. */
export function cpuSession(files: Files, folder: string): Promise<ort.InferenceSession> {
  const prefix = `${folder}/model.onnx_data`;
  const externalData = [...files].filter(([path]) => path.startsWith(prefix))
    .map(([path, data]) => ({ path: path.slice(folder.length + 1), data }));
  return ort.InferenceSession.create(files.get(`${folder}/model.onnx`)!, {
    executionProviders: ["wasm"],
    externalData,
  });
}

/** Runs with plain arrays; outputs as float arrays. */
export async function infer(
  session: ort.InferenceSession,
  feeds: Record<string, { shape: readonly number[]; data: Float32Array | BigInt64Array }>,
): Promise<Record<string, Float32Array>> {
  const tensors = Object.entries(feeds).map(([name, { shape, data }]) => [
    name,
    data instanceof BigInt64Array
      ? new ort.Tensor("int64", data, shape)
      : new ort.Tensor("float32", data, shape),
  ]);
  const results = await session.run(Object.fromEntries(tensors));
  return Object.fromEntries(
    Object.entries(results).map(([name, value]) => [name, value.data as Float32Array]),
  );
}
