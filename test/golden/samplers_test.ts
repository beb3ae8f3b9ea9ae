/** Eight steps of the whole pipeline with other samplers than Euler's, against diffusers. */
import assert from "node:assert/strict";
import { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import { TorchCpuGenerator } from "../../src/random/torch_cpu.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import { createScheduler } from "../../src/schedulers/mod.ts";
import { keptBy } from "../../src/schedulers/step.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { elements } from "../../src/gpu/tensor.ts";
import samplers from "../../fixtures/golden/samplers.json" with { type: "json" };
import { nmse, tolerance } from "../tolerance.ts";
import { golden, openFixture } from "./fixture.ts";

const { gpu, model, components } = await openFixture();
const vectors = await golden("samplers");

for (const { key, config, latents_after_calls, ...run } of samplers.trajectories) {
  Deno.test(`${key}: latents after the evaluations that diffusers recorded`, async () => {
    const scheduler = createScheduler({ _class_name: run.class, ...config });
    const pipeline = new StableDiffusion3Pipeline(gpu, { ...model, scheduler }, components);
    const request = resolveRequest(
      {
        prompt: run.prompt,
        height: run.height,
        width: run.width,
        guidanceScale: run.guidance_scale,
        numInferenceSteps: run.num_inference_steps,
        seed: run.seed,
      },
      { model: model.info, limits: defaultRequestLimits },
    );
    const steps = pipeline.schedule(request);
    const text = await pipeline.embed(request, undefined);
    const { latents, kept } = pipeline.begin(request, steps, run.seed);
    assert.equal(kept?.shape[0] ?? 0, keptBy(steps));
    const noise = new TorchCpuGenerator(run.noise_seed);
    const after: Tensor[] = [];
    await pipeline.batcher.denoise({
      latents,
      kept,
      text: text.text,
      negativeText: text.negativeText,
      guidanceScale: request.guidanceScale,
      steps,
      drawNoise: () => noise.randn(elements(latents.shape)),
      snapshot: () => {
        after.push(gpu.createTensor(latents.shape, "after", "other"));
        return after.at(-1);
      },
    });
    assert.equal(after.length, steps.length);
    const expected = vectors(key).values;
    const size = elements(latents.shape);
    for (const [i, call] of latents_after_calls.entries()) {
      const error = nmse(
        await gpu.readFloats(after[call]!),
        expected.subarray(i * size, (i + 1) * size),
      );
      assert.ok(error <= tolerance.trajectory, `evaluation ${call}: NMSE ${error}`);
    }
    text.release();
  });
}
