/** Eight steps of the whole pipeline against diffusers, from the prompt's text to the image. */
import assert from "node:assert/strict";
import { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { assertClose } from "../gpu.ts";
import { nmse, psnr, tolerance } from "../tolerance.ts";
import { golden, openFixture } from "./fixture.ts";

const { gpu, model, components } = await openFixture();
const pipeline = new StableDiffusion3Pipeline(gpu, model, components);

for (
  const [name, prompt, height, width, guidanceScale] of [
    ["trajectory_128x128_g4", "a red heart on a white background", 128, 128, 4],
    ["trajectory_96x160_g4", "a yellow star on a blue background", 96, 160, 4],
    ["trajectory_128x128_g1", "a red heart on a white background", 128, 128, 1],
  ] as const
) {
  Deno.test(`${name}: latents after every step, and the image`, async () => {
    const vectors = await golden(name);
    const request = resolveRequest(
      { prompt, height, width, guidanceScale, numInferenceSteps: 8, seed: 0 },
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
      guidanceScale,
      steps,
      snapshot: () => {
        after.push(gpu.createTensor(initial.shape, "after", "other"));
        return after.at(-1);
      },
    });
    const expected = vectors("latents_after").values;
    const size = initial.values.length;
    for (const [i, tensor] of after.entries()) {
      const error = nmse(
        await gpu.readFloats(tensor),
        expected.subarray(i * size, (i + 1) * size),
      );
      assert.ok(error <= tolerance.trajectory, `step ${i + 1}: NMSE ${error}`);
    }
    assertClose(await gpu.readFloats(latents), expected.subarray(-size), tolerance.trajectory);
    const image = await pipeline.decodeStage.decode(latents);
    const found = psnr(image.data, vectors("image_u8").values);
    assert.ok(found >= tolerance.imagePsnr, `${found.toFixed(1)} dB`);
    text.release();
  });
}
