/** The server's worker: owns the GPU device and the model, and waits for the GPU in peace. */

import * as onnx from "../backends/onnx/load.ts";
import { openEngine } from "../engine/engine.ts";
import { serveEngine } from "../engine/worker/host.ts";
import type { MessageEndpoint } from "../engine/worker/protocol.ts";
import { directorySource } from "../weights/deno_source.ts";
import { textFile } from "../weights/deno_text_file.ts";
import type { EngineOptions } from "./engine.ts";

serveEngine(self as unknown as MessageEndpoint, async (options) => {
  const { model, gpuMemory, weights, tune, tuningFile, ...rest } = options as EngineOptions;
  const source = directorySource(model);
  try {
    return await openEngine(source, {
      ...rest,
      onnx,
      weightType: weights,
      memoryBudget: gpuMemory,
      tuning: tune ? { store: textFile(tuningFile) } : undefined,
    });
  } finally {
    source.close();
  }
});
