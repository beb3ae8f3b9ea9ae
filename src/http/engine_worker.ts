/** The server's worker: owns the GPU device and the model, and waits for the GPU in peace. */

import { openEngine } from "../pipeline/engine.ts";
import { serveEngine } from "../pipeline/worker_host.ts";
import type { MessageEndpoint } from "../pipeline/worker_protocol.ts";
import { directorySource } from "../weights/deno_source.ts";
import type { EngineOptions } from "./engine.ts";

serveEngine(self as unknown as MessageEndpoint, async (options) => {
  const { model, engine, gpuMemory, ...rest } = options as EngineOptions;
  if (engine === "onnx") throw new TypeError("--engine: this server runs wgsl (or auto), not onnx");
  const source = directorySource(model);
  try {
    return await openEngine(source, { ...rest, memoryBudget: gpuMemory });
  } finally {
    source.close();
  }
});
