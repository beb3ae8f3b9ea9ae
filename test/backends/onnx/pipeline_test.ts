/** Whole pipelines over the ONNX networks: one prompt to one image, beside our own kernels. */
import assert from "node:assert/strict";
import type { Components } from "../../../src/models/sd3/components.ts";
import { exportOnnx } from "../../../src/backends/onnx/export/mod.ts";
import { loadOnnx } from "../../../src/backends/onnx/load.ts";
import { defaultRequestLimits } from "../../../src/requests/model_info.ts";
import { resolveRequest } from "../../../src/requests/request.ts";
import { StableDiffusion3Pipeline } from "../../../src/pipeline/stable_diffusion_3.ts";
import { directorySink } from "../../../src/weights/deno_sink.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { golden, openFixture } from "../../golden/fixture.ts";
import { psnr, tolerance } from "../../tolerance.ts";
import { tinyModel } from "./golden.ts";

const { gpu, model, components: wgsl } = await openFixture();
const directory = await Deno.makeTempDir();
addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
await exportOnnx(directorySource(tinyModel), directorySink(directory));
const onnx = await loadOnnx({ ...model, source: directorySource(directory) }, gpu, [
  "clipL",
  "clipG",
  "t5",
  "transformer",
  "decoder",
]);

const name = "trajectory_96x160_g4";
const vectors = await golden(name);
const request = resolveRequest(
  {
    prompt: "a yellow star on a blue background",
    height: 96,
    width: 160,
    guidanceScale: 4,
    numInferenceSteps: 8,
    seed: 0,
  },
  { model: model.info, limits: defaultRequestLimits },
);

/** The image of the golden trajectory, from its own noise. */
async function image(components: Components): Promise<Uint8Array> {
  const pipeline = new StableDiffusion3Pipeline(gpu, model, components);
  const text = await pipeline.embed(request, undefined);
  const initial = vectors("initial_latents");
  const latents = gpu.upload(initial.values, initial.shape, "latents", "other");
  await pipeline.batcher.denoise({
    latents,
    text: text.text,
    negativeText: text.negativeText,
    guidanceScale: request.guidanceScale,
    steps: pipeline.schedule(request),
  });
  text.release();
  return (await pipeline.decodeStage.decode(latents)).data;
}

Deno.test("eight steps on ONNX networks give diffusers' image, and our own kernels'", async () => {
  const { clipL, clipG, t5, transformer, decoder } = onnx;
  const second = await image({
    clipL: clipL!,
    clipG: clipG!,
    t5,
    transformer: transformer!,
    decoder: decoder!,
    encoder: undefined,
  });
  const toReference = psnr(second, vectors("image_u8").values);
  assert.ok(toReference >= tolerance.imagePsnr, `${toReference.toFixed(1)} dB to diffusers`);
  const first = await image(wgsl);
  const between = psnr(second, first);
  assert.ok(between >= tolerance.imagePsnr, `${between.toFixed(1)} dB between the backends`);
});

Deno.test("backends mix: our text encoders and VAE around an ONNX transformer", async () => {
  const mixed = await image({ ...wgsl, transformer: onnx.transformer! });
  const found = psnr(mixed, vectors("image_u8").values);
  assert.ok(found >= tolerance.imagePsnr, `${found.toFixed(1)} dB to diffusers`);
});
