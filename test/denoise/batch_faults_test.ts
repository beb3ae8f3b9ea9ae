/** Errors and cancellation inside a batch touch one sample: the others' latents keep every bit. */
import assert from "node:assert/strict";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import type { Step, StepShape, TransformerComponent } from "../../src/models/sd3/components.ts";
import type { ImageInFlight } from "../../src/denoise/batch_step.ts";
import { DenoiseBatcher, type TurnReport } from "../../src/denoise/batcher.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import { TorchCpuGenerator } from "../../src/random/torch_cpu.ts";
import {
  components,
  gpu,
  loop,
  model,
  openPipeline,
  stochasticModel,
} from "../pipeline/small_requests.ts";

const request = resolveRequest({
  prompt: "a red heart",
  height: 32,
  width: 32,
  maxSequenceLength: 8,
  numInferenceSteps: 3,
  guidanceScale: 4,
  seed: 0,
}, { model: model.info, limits: defaultRequestLimits });

/** Samples of one pipeline and prompt, which differ in their seeds. */
async function studio(pipeline: StableDiffusion3Pipeline) {
  const { text, negativeText, release } = await pipeline.embed(request, undefined);
  const steps = pipeline.schedule(request);
  const draws: number[] = [];
  const image = (seed: number, changes: Partial<ImageInFlight> = {}): ImageInFlight => {
    const generator = new TorchCpuGenerator(seed);
    const latents = pipeline.initialLatents(request, generator);
    draws[seed] = 0;
    return {
      ...{ latents, text, negativeText, steps, guidanceScale: 4 },
      drawNoise: () => {
        draws[seed]!++;
        return generator.randn(latents.byteLength / 4);
      },
      ...changes,
    };
  };
  const alone = async (batcher: DenoiseBatcher, seed: number) => {
    const { latents, ...rest } = image(seed);
    await batcher.denoise({ latents, ...rest });
    return await taken(latents);
  };
  return { image, alone, draws, release };
}

/** The values of a tensor, which is freed. */
async function taken(latents: Tensor): Promise<Float32Array> {
  const values = await gpu.readFloats(latents);
  gpu.destroyTensor(latents);
  return values;
}

/** A transformer whose steps go through `around`. */
function wrapped(
  around: (step: Step, shape: StepShape) => Step | Promise<Step>,
): TransformerComponent {
  const { transformer } = components;
  return {
    config: transformer.config,
    contextWidth: transformer.contextWidth,
    pooledWidth: transformer.pooledWidth,
    prepareText: (...args) => transformer.prepareText(...args),
    step: async (shape) => await around(await transformer.step(shape), shape),
    dispose: () => {},
  };
}

const pipeline = openPipeline();
const { image, alone, release } = await studio(pipeline);
const expected: Float32Array[] = [];
for (let seed = 0; seed < 3; seed++) expected.push(await alone(pipeline.batcher, seed));

/** Denoises three images together, the second with `changes`. */
async function trio(batcher: DenoiseBatcher, changes: Partial<ImageInFlight> = {}, loses = false) {
  const images = [image(0), image(1, changes), image(2)];
  const [, { latents }] = images as [ImageInFlight, ImageInFlight, ImageInFlight];
  if (loses) images[1] = { ...images[1]!, onStep: () => gpu.destroyTensor(latents) };
  const ends = await Promise.allSettled(images.map((one) => batcher.denoise(one)));
  const values = [await taken(images[0]!.latents), await taken(images[2]!.latents)];
  if (ends[1]!.status === "fulfilled") assert.deepEqual(await taken(latents), expected[1]);
  else gpu.destroyTensor(latents);
  assert.equal(ends[0]!.status, "fulfilled");
  assert.equal(ends[2]!.status, "fulfilled");
  assert.deepEqual(values, [expected[0], expected[2]]);
  assert.equal(batcher.active, 0);
  return ends[1]!;
}

function assertRejected(end: PromiseSettledResult<void>, message: RegExp): void {
  assert.equal(end.status, "rejected");
  assert.match(String((end as PromiseRejectedResult).reason), message);
}

for (const recordAhead of [false, true]) {
  const options = { maxBatch: () => 8, recordAhead };
  const batcherOf = (transformer: TransformerComponent) =>
    new DenoiseBatcher(gpu, transformer, options);
  const plain = batcherOf(components.transformer);
  const test = (name: string, run: () => Promise<void>) =>
    Deno.test(`encoding ${recordAhead ? "ahead" : "between steps"}: ${name}`, run);

  test("a step is encoded and followed by the next in this order", async () => {
    const events: string[] = [];
    const noted = <T>(event: string, result: T): T => {
      events.push(event);
      return result;
    };
    const transformer = wrapped((step) => ({
      ...step,
      record: async (work) => {
        const commands = noted("encode", await step.record(work));
        return { submit: () => noted("submit", commands.submit()) };
      },
    }));
    const reports: TurnReport[] = [];
    const watched = Object.create(gpu, {
      idle: { value: () => noted("wait", gpu.idle()) },
    }) as Gpu;
    const batcher = new DenoiseBatcher(watched, transformer, {
      ...options,
      onTurn: (turn) => reports.push(turn),
    });
    assert.deepEqual(await alone(batcher, 0), expected[0]);
    const later = recordAhead ? ["encode", "wait", "submit"] : ["wait", "encode", "submit"];
    assert.deepEqual(events, ["encode", "submit", ...later, ...later, "wait"]);
    for (const [i, { host, exposed }] of reports.entries()) {
      assert.equal(exposed < host, recordAhead && i > 0);
    }
  });

  test("an abort ends its image within a step", async () => {
    const stop = new AbortController();
    const seen: number[] = [];
    const end = await trio(plain, {
      signal: stop.signal,
      onStep: (step) => {
        seen.push(step);
        stop.abort(new Error("no longer wanted"));
      },
    });
    assertRejected(end, /no longer wanted/);
    assert.deepEqual(seen, [1], "no report comes after the abort");
  });

  test("an aborted image is not begun", async () => {
    const one = image(0, { signal: AbortSignal.abort(new Error("too late")) });
    await assert.rejects(plain.denoise(one), /too late/);
    gpu.destroyTensor(one.latents);
  });

  test("a listener that throws ends its own image", async () => {
    const end = await trio(plain, {
      onStep: (step) => {
        if (step === 2) throw new Error("listener failed");
      },
    });
    assertRejected(end, /listener failed/);
  });

  test("an image that ends while its next step is encoded takes no part in it", async () => {
    const submitted: number[] = [];
    const transformer = wrapped((step, { images }) => ({
      ...step,
      record: async (work) => {
        const commands = await step.record(work);
        // Long enough for the end of the step before to be heard of.
        await gpu.idle();
        await new Promise((resolve) => setTimeout(resolve, 50));
        return {
          submit: () => {
            submitted.push(images);
            return commands.submit();
          },
        };
      },
    }));
    const end = await trio(batcherOf(transformer), {
      onStep: () => {
        throw new Error("listener failed");
      },
    });
    assertRejected(end, /listener failed/);
    assert.deepEqual(submitted, recordAhead ? [3, 3, 2] : [3, 2, 2]);
  });

  test("a snapshot that throws ends its own image", async () => {
    const end = await trio(plain, {
      snapshot: (step) => {
        if (step === 2) throw new Error("no memory for a preview");
        return undefined;
      },
    });
    assertRejected(end, /no memory for a preview/);
  });

  test("an image whose memory is gone fails on the device, alone", async () => {
    const end = await trio(plain, {}, true);
    assertRejected(end, /step/);
  });

  test("a step that fails as a batch is taken one by one", async () => {
    const sizes: number[] = [];
    const transformer = wrapped((step, { images }) => {
      sizes.push(images);
      if (images > 1) throw new Error("no memory for a batch");
      return step;
    });
    const end = await trio(batcherOf(transformer));
    assert.equal(end.status, "fulfilled");
    assert.deepEqual(sizes, [3, 1, 1, 1, 3, 1, 1, 1, 3, 1, 1, 1]);
  });

  test("a component that fails once costs nobody an image", async () => {
    let calls = 0;
    const transformer = wrapped((step) => {
      if (++calls === 2) throw new Error("passing trouble");
      return step;
    });
    const batcher = batcherOf(transformer);
    assert.deepEqual(await alone(batcher, 0), expected[0]);
  });

  test("a component that always fails ends every image, and the loop goes on", async () => {
    let broken = true;
    const transformer = wrapped((step) => {
      if (broken) throw new Error("broken transformer");
      return step;
    });
    const batcher = batcherOf(transformer);
    const images = [image(0), image(1)];
    const ends = await Promise.allSettled(images.map((one) => batcher.denoise(one)));
    for (const end of ends) assertRejected(end, /broken transformer/);
    gpu.destroyTensor(...images.map(({ latents }) => latents));
    broken = false;
    assert.deepEqual(await alone(batcher, 2), expected[2]);
  });

  test("an error that nobody caught costs no image, and no step runs twice", async () => {
    const steps = pipeline.schedule({ ...request, numInferenceSteps: 8 });
    const quiet = image(0, { steps });
    await plain.denoise(quiet);
    const wanted = await taken(quiet.latents);
    let failed = 0;
    const transformer = wrapped((step) => ({
      ...step,
      record: async (work) => {
        const counted = (error: unknown) => {
          failed++;
          throw error;
        };
        const commands = await step.record(work).catch(counted);
        return { submit: () => commands.submit().catch(counted) };
      },
    }));
    const batcher = batcherOf(transformer);
    const disturbed = image(0, {
      steps,
      onStep: (step) => {
        // A validation error outside any scope: the next submit hears of it.
        if (step === 1) gpu.device.createBuffer({ size: 16, usage: 0xffff });
      },
    });
    await batcher.denoise(disturbed);
    assert.deepEqual(await taken(disturbed.latents), wanted);
    assert.equal(failed, 1, "the error was not heard");
  });

  test("an observer of turns that throws ends the images of that turn, not the loop", async () => {
    let turns = 0;
    const batcher = new DenoiseBatcher(gpu, components.transformer, {
      ...options,
      onTurn: () => {
        if (++turns === 1) throw new Error("observer failed");
      },
    });
    const one = image(0);
    await assert.rejects(batcher.denoise(one), /observer failed/);
    gpu.destroyTensor(one.latents);
    assert.deepEqual(await alone(batcher, 1), expected[1]);
  });

  test("a second try draws no second noise", async () => {
    const stochastic = openPipeline(stochasticModel, undefined, { recordAhead });
    const noisy = await studio(stochastic);
    const single = [
      await noisy.alone(stochastic.batcher, 0),
      await noisy.alone(stochastic.batcher, 1),
    ];
    assert.notDeepEqual(single[0], expected[0], "the noise makes no difference");
    const once = noisy.draws[0];
    const transformer = wrapped((step, { images }) => ({
      ...step,
      record: (work) =>
        step.record({
          ...work,
          write: () => {
            work.write();
            if (images > 1) throw new Error("failed after the noise was drawn");
          },
        }),
    }));
    const batcher = batcherOf(transformer);
    const images = [noisy.image(0), noisy.image(1)];
    await Promise.all(images.map((one) => batcher.denoise(one)));
    const values = [await taken(images[0]!.latents), await taken(images[1]!.latents)];
    assert.deepEqual(values, single);
    assert.equal(noisy.draws[0], once);
    noisy.release();
  });

  test("a step that needs noise from an image that draws none fails", async () => {
    const stochastic = openPipeline(stochasticModel, undefined, { recordAhead });
    const noisy = await studio(stochastic);
    const one = noisy.image(0, { drawNoise: undefined });
    await assert.rejects(stochastic.batcher.denoise(one), /draws none/);
    gpu.destroyTensor(one.latents);
    noisy.release();
    stochastic.promptCache.dispose();
  });
}

Deno.test("no turn runs more images than it may, and nothing is left behind", () => {
  assert.ok(loop.turns.every(({ images }) => images <= 8));
  assert.equal(gpu.ledger.bytes("requests"), 0);
  release();
});
