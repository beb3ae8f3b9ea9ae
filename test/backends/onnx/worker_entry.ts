/** Runs a text encoder of an ONNX directory inside a worker and sends back what it gives. */
import { prepareAdapter } from "../../../adapter.ts";
import { openGpu } from "../../../src/gpu/device.ts";
import { loadOnnx } from "../../../src/backends/onnx/load.ts";
import { describeModel } from "../../../src/models/mod.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";

globalThis.onmessage = async (
  { data }: MessageEvent<{ model: string; onnx: string; ids: number[] }>,
) => {
  prepareAdapter();
  const gpu = await openGpu();
  const source = directorySource(data.onnx);
  const model = { ...await describeModel(directorySource(data.model)), source };
  const { clipL } = await loadOnnx(model, gpu, ["clipL"]);
  const { hiddenSize, projectionDim } = clipL!;
  const penultimate = gpu.createTensor([1, data.ids.length, hiddenSize], "penultimate", "other");
  const pooled = gpu.createTensor([1, projectionDim], "pooled", "other");
  await clipL!.embed(Int32Array.from(data.ids), { hidden: penultimate, pooled });
  postMessage({ pooled: await gpu.readFloats(pooled), location: location.href });
};
