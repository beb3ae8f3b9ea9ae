/** Eight steps of the whole pipeline against diffusers, from the prompt's text to the image. */
import assert from "node:assert/strict";
import type { Tensor } from "../../src/gpu/tensor.ts";
import type { RgbImage } from "../../src/image/rgb_image.ts";
import { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import { assertClose } from "../gpu.ts";
import { nmse, psnr, tolerance } from "../tolerance.ts";
import { type Fixture, golden } from "./fixture.ts";

const heart = "a red heart on a white background";
const star = "a yellow star on a blue background";

/** By the name of their vectors. */
export const trajectories = {
  trajectory_128x128_g4: { prompt: heart, height: 128, width: 128, guidanceScale: 4 },
  trajectory_96x160_g4: { prompt: star, height: 96, width: 160, guidanceScale: 4 },
  trajectory_128x128_g1: { prompt: heart, height: 128, width: 128, guidanceScale: 1 },
} as const;

/** Fails unless the latents after every step, and the image that it returns, are diffusers'. */
export async function assertTrajectory(
  { gpu, model, components }: Fixture,
  name: keyof typeof trajectories,
): Promise<RgbImage> {
  const pipeline = new StableDiffusion3Pipeline(gpu, model, components);
  const vectors = await golden(name);
  const request = resolveRequest(
    { ...trajectories[name], numInferenceSteps: 8, seed: 0 },
    { model: model.info, limits: defaultRequestLimits },
  );
  const steps = pipeline.schedule(request);
  const timesteps = vectors("timesteps").values;
  for (const [i, step] of steps.entries()) {
    assert.ok(Math.abs(step.timestep / timesteps[i]! - 1) < tolerance.scheduler);
    const sigma = vectors("sigmas").values[i]!;
    assert.ok(Math.abs(step.sigma / sigma - 1) < tolerance.scheduler);
  }
  const text = await pipeline.embed(request, undefined);
  const initial = vectors("initial_latents");
  const latents = gpu.upload(initial.values, initial.shape, "latents", "other");
  const after: Tensor[] = [];
  await pipeline.batcher.denoise({
    latents,
    text: text.text,
    negativeText: text.negativeText,
    guidanceScale: request.guidanceScale,
    steps,
    snapshot: () => {
      after.push(gpu.createTensor(initial.shape, "after", "other"));
      return after.at(-1);
    },
  });
  const expected = vectors("latents_after").values;
  const size = initial.values.length;
  for (const [i, tensor] of after.entries()) {
    const error = nmse(await gpu.readFloats(tensor), expected.subarray(i * size, (i + 1) * size));
    assert.ok(error <= tolerance.trajectory, `step ${i + 1}: NMSE ${error}`);
  }
  assertClose(await gpu.readFloats(latents), expected.subarray(-size), tolerance.trajectory);
  const image = await pipeline.decodeStage.decode(latents);
  const found = psnr(image.data, vectors("image_u8").values);
  assert.ok(found >= tolerance.imagePsnr, `${found.toFixed(1)} dB`);
  text.release();
  return image;
}
