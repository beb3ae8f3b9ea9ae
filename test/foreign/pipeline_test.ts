/**
 * Schedules, guidance and prompts of foreign models through the pipeline, against the f64 pipeline;
 * then the same on a device that binds little at once. One file, since one device compiles for all.
 */
import assert from "node:assert/strict";
import type { Gpu } from "../../src/gpu/device.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import { loadModel } from "../../src/backends/load.ts";
import { describeModel } from "../../src/models/mod.ts";
import { type PromptTriple, tokenize } from "../../src/models/sd3/tokenize.ts";
import { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import { TorchCpuGenerator } from "../../src/random/torch_cpu.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { gpu } from "../gpu.ts";
import { psnr, tolerance } from "../tolerance.ts";
import { heads, levels } from "./configs.ts";
import { makeModel, type ModelOptions } from "./make_model.ts";
import { referenceImage, type ReferenceRun } from "./reference_pipeline.ts";

interface Case {
  readonly model?: ModelOptions;
  readonly request?: Partial<GenerateRequest>;
  readonly reference?: Pick<ReferenceRun, "skip" | "clipSkip">;
  readonly stochastic?: boolean;
  /** Changes to tokenizer_3/tokenizer_config.json; undefined takes a field out. */
  readonly t5Tokenizer?: Record<string, unknown>;
}

const small = {
  transformer: { ...heads(2, 32), qk_norm: "rms_norm", dual_attention_layers: [0] },
  vae: levels([12, 20], { norm_num_groups: 4 }),
} as const satisfies ModelOptions;

const cases: Record<string, Case> = {
  "Karras sigmas, two images": {
    model: { scheduler: { use_karras_sigmas: true } },
    request: { numImagesPerPrompt: 2 },
  },
  "exponential sigmas": { model: { scheduler: { use_exponential_sigmas: true, shift: 1 } } },
  "beta sigmas": { model: { scheduler: { use_beta_sigmas: true } } },
  "a terminal shift": { model: { scheduler: { shift_terminal: 0.1 } } },
  "stochastic sampling": {
    model: { scheduler: { stochastic_sampling: true } },
    stochastic: true,
  },
  "the request's own sigmas": { request: { sigmas: [0.9, 0.4] } },
  "skip-layer guidance": {
    model: { transformer: { ...small.transformer, num_layers: 4 } },
    request: {
      numInferenceSteps: 4,
      skipGuidanceLayers: [1, 2],
      skipLayerGuidanceStart: 0.1,
      skipLayerGuidanceStop: 0.7,
    },
    reference: { skip: { layers: [1, 2], scale: 2.8, steps: [1, 2] } },
  },
  "earlier hidden states of the CLIPs": {
    request: { clipSkip: 1 },
    reference: { clipSkip: 1 },
  },
  "a prompt for each encoder, 77 tokens for T5": {
    request: {
      prompt2: "a circle",
      prompt3: "a yellow star, a red heart, and nothing else at all",
      maxSequenceLength: 77,
    },
    t5Tokenizer: { model_max_length: 512 },
  },
  "a T5 tokenizer without a longest length": {
    request: { maxSequenceLength: 300 },
    t5Tokenizer: { model_max_length: undefined },
  },
};

for (const [name, test] of Object.entries(cases)) {
  Deno.test(`pipeline: ${name}`, async () => {
    const model = await makeModel({ ...small, ...test.model });
    const path = `${model.path}/tokenizer_3/tokenizer_config.json`;
    const config = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...config, ...test.t5Tokenizer }));
    const source = directorySource(model.path);
    try {
      const described = await describeModel(source);
      const components = await loadModel(described, gpu);
      const pipeline = new StableDiffusion3Pipeline(gpu, described, components);
      const request: GenerateRequest = {
        prompt: "a yellow star",
        negativePrompt: "red",
        height: 12,
        width: 20,
        numInferenceSteps: test.request?.sigmas ? undefined : 3,
        guidanceScale: 4,
        seed: 5,
        ...test.request,
      };
      const { images, parameters } = await pipeline.generate(request);
      const steps = pipeline.schedule(parameters);
      const ids = async (triple: PromptTriple) =>
        (await tokenize(described.tokenizers, triple, parameters.maxSequenceLength)).tokens;
      const { prompt, prompt2, prompt3, negativePrompt: none } = parameters;
      const latents = { height: 6, width: 10 };
      const count = 16 * latents.height * latents.width;
      for (const [k, image] of images.entries()) {
        const generator = new TorchCpuGenerator(5 + k);
        const noise = generator.randn(count);
        const expected = referenceImage(model, {
          ids: await ids([prompt, prompt2, prompt3]),
          negativeIds: await ids([none, none, none]),
          guidanceScale: 4,
          sigmas: [...steps.map(({ sigma }) => sigma), 0],
          noise,
          ...latents,
          ...(test.stochastic && { drawNoise: () => generator.randn(count) }),
          ...test.reference,
        });
        const decibels = psnr(image.data, expected);
        assert.ok(decibels >= tolerance.imagePsnr, `image ${k}: ${decibels.toFixed(1)} dB`);
      }
      assert.equal(images.length, parameters.numImagesPerPrompt);
      pipeline.dispose();
    } finally {
      source.close();
      await model.remove();
    }
  });
}

/** From now on the device says that it binds at most so many bytes. */
function limit(device: Gpu, bytes: number): void {
  const limits = new Proxy(device.limits, {
    get: (real, key) =>
      key === "maxStorageBufferBindingSize" ? bytes : Reflect.get(real, key, real),
  });
  Object.defineProperty(device, "limits", { value: limits, configurable: true });
}

Deno.test("weights in parts and rows in passes give the same image, bit for bit", async () => {
  const model = await makeModel(small);
  const source = directorySource(model.path);
  try {
    const described = await describeModel(source);
    const images = [];
    for (const bytes of [gpu.limits.maxStorageBufferBindingSize, 64 * 1024]) {
      limit(gpu, bytes);
      const components = await loadModel(described, gpu);
      const pipeline = new StableDiffusion3Pipeline(gpu, described, components);
      const { images: [image] } = await pipeline.generate({
        prompt: "a yellow star",
        height: 12,
        width: 20,
        numInferenceSteps: 3,
        guidanceScale: 4,
        seed: 5,
        skipGuidanceLayers: [0],
        skipLayerGuidanceStart: 0,
        skipLayerGuidanceStop: 1,
      });
      images.push(image!.data);
      pipeline.dispose();
    }
    assert.deepEqual(images[0], images[1]);
  } finally {
    source.close();
    await model.remove();
  }
});

Deno.test("a model whose own size is too large for the device still makes smaller images", async () => {
  const model = await makeModel({
    ...small,
    transformer: { ...small.transformer, sample_size: 128, pos_embed_max_size: 64 },
  });
  const source = directorySource(model.path);
  limit(gpu, 512 * 1024);
  const engine = await openEngine(source, { gpu });
  try {
    const request = { prompt: "a yellow star", numInferenceSteps: 1, seed: 5 };
    await assert.rejects(
      engine.generate(request),
      (error) => error instanceof InvalidRequestError && /256.*larger than/.test(error.message),
    );
    const { images } = await engine.generate({ ...request, height: 12, width: 20 });
    assert.equal(images.length, 1);
  } finally {
    // Closes the device, too: this test is the file's last.
    await engine.close();
    source.close();
    await model.remove();
  }
});
