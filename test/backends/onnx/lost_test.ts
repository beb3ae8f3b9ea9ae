/** A device lost under onnxruntime: the call ends with the cause, later ones say so at once. */
import assert from "node:assert/strict";
import { openGpu } from "../../../src/gpu/device.ts";
import { exportOnnx } from "../../../src/backends/onnx/export/mod.ts";
import { loadOnnx } from "../../../src/backends/onnx/load.ts";
import { describeModel } from "../../../src/models/mod.ts";
import { directorySink } from "../../../src/weights/deno_sink.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { prepareAdapter } from "../../../adapter.ts";
import { tinyModel } from "./golden.ts";

Deno.test("a lost device ends the run under way, and nothing waits for ever", async () => {
  prepareAdapter();
  const gpu = await openGpu();
  const directory = await Deno.makeTempDir();
  try {
    const only = ["text_encoder", "text_encoder_3"];
    await exportOnnx(directorySource(tinyModel), directorySink(directory), { only });
    const tiny = await describeModel(directorySource(tinyModel));
    const model = { ...tiny, source: directorySource(directory) };
    const { clipL, t5 } = await loadOnnx(model, gpu, ["clipL", "t5"]);
    const hidden = gpu.createTensor([1, 8, t5!.hiddenSize], "hidden", "other");
    const penultimate = gpu.createTensor([1, 8, clipL!.hiddenSize], "penultimate", "other");
    const pooled = gpu.createTensor([1, clipL!.projectionDim], "pooled", "other");

    // the device goes in the middle of the run: when onnxruntime asks for its tenth buffer
    const { device } = gpu;
    const create = device.createBuffer.bind(device);
    let left = 10;
    device.createBuffer = (descriptor) => {
      if (--left === 0) gpu.destroy();
      return create(descriptor);
    };
    await assert.rejects(t5!.embed(new Int32Array(8), hidden), { name: "DeviceLostError" });
    await assert.rejects(
      clipL!.embed(new Int32Array(8), { hidden: penultimate, pooled }),
      (error: Error) => error.name === "OnnxError" || error.name === "DeviceLostError",
    );
    await clipL!.dispose();
    await t5!.dispose();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
