/** The server's worker: owns the GPU device and the model, and waits for the GPU in peace. */

import * as onnx from "../onnx/load.ts";
import { openEngine } from "../pipeline/engine.ts";
import { serveEngine } from "../pipeline/worker_host.ts";
import type { MessageEndpoint } from "../pipeline/worker_protocol.ts";
import { directorySource } from "../weights/deno_source.ts";
import type { EngineOptions } from "./engine.ts";

serveEngine(self as unknown as MessageEndpoint, async (options) => {
  const { model, gpuMemory, weights, ...rest } = options as EngineOptions;
  const source = directorySource(model);
  try {
    return await openEngine(source, {
      ...rest,
      onnx,
      weightType: weights,
      memoryBudget: gpuMemory,
    });
  } finally {
    source.close();
  }
});
