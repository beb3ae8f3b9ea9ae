/** The engine on ONNX graphs answers like the engine on our kernels: together, alone, cancelled. */
import assert from "node:assert/strict";
import { prepareAdapter } from "../../../adapter.ts";
import * as onnx from "../../../src/backends/onnx/load.ts";
import { exportOnnx } from "../../../src/backends/onnx/export/mod.ts";
import { openEngine } from "../../../src/engine/engine.ts";
import { InvalidRequestError } from "../../../src/requests/errors.ts";
import type { GenerateRequest } from "../../../src/requests/types.ts";
import { directorySink } from "../../../src/weights/deno_sink.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { psnr, tolerance } from "../../tolerance.ts";
import { tinyModel } from "./golden.ts";

prepareAdapter();
const directory = await Deno.makeTempDir();
addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
await exportOnnx(directorySource(tinyModel), directorySink(directory));

const size = { height: 32, width: 32 };
const requests: readonly GenerateRequest[] = [
  { ...size, prompt: "a red heart", seed: 1, numInferenceSteps: 2 },
  { ...size, prompt: "a cat", seed: 2, numInferenceSteps: 1, guidanceScale: 1 },
  { ...size, prompt: "a star", seed: 3, width: 48, numInferenceSteps: 1, numImagesPerPrompt: 2 },
];

Deno.test("requests at once on ONNX graphs give the images of one after another", async () => {
  const engine = await openEngine(directorySource(directory), { backend: "onnx", onnx });
  const ours = await openEngine(directorySource(tinyModel), { backend: "wgsl" });
  try {
    assert.equal(engine.status().backends?.transformer, "onnx");
    const { weights, requests: idle } = engine.status().memory;
    const stop = new AbortController();
    const stopped = engine.generate(
      { ...size, prompt: "a cat", numInferenceSteps: 50 },
      {
        signal: stop.signal,
        onProgress: ({ type }) => type === "progress" && stop.abort(new Error("enough")),
      },
    );
    const together = Promise.all(requests.map((request) => engine.generate(request)));
    await assert.rejects(stopped, /enough/);
    for (const [i, result] of (await together).entries()) {
      const alone = await engine.generate(requests[i]!);
      const wgsl = await ours.generate(requests[i]!);
      for (const [k, image] of result.images.entries()) {
        assert.deepEqual(image.data, alone.images[k]!.data, `request ${i}, image ${k}`);
        const found = psnr(image.data, wgsl.images[k]!.data);
        assert.ok(found >= tolerance.backendsPsnr, `${found.toFixed(1)} dB between the backends`);
      }
    }
    assert.deepEqual(engine.status().memory.weights, weights);
    assert.deepEqual(engine.status().memory.requests, idle);
    await assert.rejects(
      engine.generate({ prompt: "x", skipGuidanceLayers: [1] }),
      InvalidRequestError,
    );
  } finally {
    await engine.close();
    await ours.close();
  }
});
