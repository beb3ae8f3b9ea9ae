/** Plans made without a device: what they count, and that a trial leaves no trace. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { webgpuDefaults } from "../../src/gpu/profiles.ts";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import { MemoryPlanner } from "../../src/engine/memory_planner.ts";
import { describeModel } from "../../src/models/mod.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import { createScheduler } from "../../src/schedulers/mod.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

const source = directorySource(fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)));
const model = await describeModel(source);
const open = () => MemoryPlanner.open(model);
const request = (changes: Partial<GenerateRequest> = {}) =>
  resolveRequest({ prompt: "a", height: 64, width: 64, seed: 0, ...changes }, {
    model: model.info,
    limits: defaultRequestLimits,
  });

Deno.test("weights are those of the files", async () => {
  const { weights } = await open();
  assert.ok(weights > 29e6 && weights < 34e6, `${weights} bytes`);
});

Deno.test("a share is the images' latents, the prompts' embeddings and previews on their way", async () => {
  const planner = await open();
  const share = async (changes: Partial<GenerateRequest>, previews = false) =>
    (await planner.plan(request(changes), { maxBatch: 1, previews })).share;
  const latents = 4 * 16 * 8 * 8;
  const tokens = model.tokenizers.clipL.modelMaxLength + 8;
  // Context and pooled text, projected to the transformer's width.
  const text = 4 * model.configs.transformer.caption_projection_dim * (tokens + 1);
  const plain = { maxSequenceLength: 8 };
  assert.equal(await share(plain), latents + text);
  assert.equal(await share({ ...plain, numImagesPerPrompt: 3 }), 3 * latents + text);
  assert.equal(await share({ ...plain, negativePrompt: "b" }), latents + 2 * text);
  const unguided = { ...plain, negativePrompt: "b", guidanceScale: 1 };
  assert.equal(await share(unguided), latents + text);
  assert.equal(await share(plain, true), 3 * latents + text);
});

Deno.test("a scheduler with a history adds what it keeps of each image, and Euler nothing", async () => {
  const flow = { use_flow_sigmas: true, prediction_type: "flow_prediction" };
  const dpm = { _class_name: "DPMSolverMultistepScheduler", ...flow };
  const plan = async (
    config: Record<string, unknown>,
    changes: Partial<GenerateRequest> = {},
    maxBatch = 4,
  ) => {
    const planner = await MemoryPlanner.open({ ...model, scheduler: createScheduler(config) });
    return await planner.plan(request({ numImagesPerPrompt: 3, ...changes }), { maxBatch });
  };
  const euler = await plan({ _class_name: "FlowMatchEulerDiscreteScheduler" });
  const images = 3 * 4 * 16 * 8 * 8;
  for (
    const [config, slots] of [
      [{ _class_name: "FlowMatchHeunDiscreteScheduler" }, 1],
      [dpm, 1],
      [{ ...dpm, solver_order: 3 }, 2],
    ] as const
  ) {
    const { share, slots: arena } = await plan(config);
    assert.equal(share, euler.share + slots * images);
    // Noise, sums and what four images keep.
    assert.equal(arena.length, euler.slots.length + 3);
  }
  const stochastic = { _class_name: "FlowMatchEulerDiscreteScheduler", stochastic_sampling: true };
  assert.equal((await plan(stochastic)).share, euler.share);
  assert.ok((await plan(stochastic)).slots.length > euler.slots.length, "noise needs room");
  const single = await plan(dpm, { numInferenceSteps: 1 });
  assert.deepEqual([single.share, single.slots], [euler.share, euler.slots], "one step is Euler's");
});

Deno.test("the arena grows with the batch and with what a step does more", async () => {
  const planner = await open();
  const arena = async (maxBatch: number, changes: Partial<GenerateRequest> = {}) =>
    planner.arenaWith(await planner.plan(request(changes), { maxBatch }));
  const base = await arena(8, { guidanceScale: 1 });
  assert.ok(await arena(1, { guidanceScale: 1 }) < base);
  assert.ok(await arena(8) > base, "guidance doubles the rows");
  const skipGuidanceLayers = [1];
  assert.ok(await arena(8, { skipGuidanceLayers }) > await arena(8), "skipped layers add rows");
});

Deno.test("a batch that does not fit the budget is planned smaller", async () => {
  const planner = await open();
  const large = await planner.plan(request(), { maxBatch: 8 });
  const budget = planner.baseWith(large) + large.share - 1;
  const fitting = await planner.plan(request(), { maxBatch: 8, budget });
  assert.equal(fitting.maxBatch, 4);
  assert.ok(planner.baseWith(fitting) + fitting.share <= budget);
  assert.equal((await planner.plan(request(), { maxBatch: 8, budget: 1 })).maxBatch, 1);
});

Deno.test("a plan counts for later ones when it is committed, and not before", async () => {
  const planner = await open();
  const small = await planner.plan(request(), { maxBatch: 1 });
  const alone = planner.arenaWith(small);
  const large = await planner.plan(request({ height: 256, width: 256 }), { maxBatch: 2 });
  const again = await planner.plan(request({ seed: 1, numInferenceSteps: 3 }), { maxBatch: 1 });
  assert.equal(again, small, "requests of one shape share their plan");
  assert.equal(planner.arenaWith(small), alone);
  planner.commit(large);
  assert.equal(planner.arenaWith(small), planner.arenaWith(large));
  const later = await planner.plan(request({ height: 48 }), { maxBatch: 1 });
  assert.ok(planner.arenaWith(later) <= planner.arenaWith(large) * 1.01, "it fits in the arena");
});

Deno.test("what the device cannot bind is the request's fault, in its words", async () => {
  const limits = { ...webgpuDefaults, maxStorageBufferBindingSize: 2 ** 18 };
  const planner = await MemoryPlanner.open(model, {
    limits: limits as unknown as GPUSupportedLimits,
    adapter: { vendor: "", architecture: "", description: "", isSoftware: false },
  });
  await assert.rejects(
    planner.plan(request({ height: 512, width: 512 }), { maxBatch: 1 }),
    InvalidRequestError,
  );
});
