/**
 * What a request will take of the GPU's memory, known before it starts: a twin of the pipeline runs
 * one step of it on a device that holds nothing, and its ledger is read.
 *
 * Every trial runs on a device of its own whose arena begins as that of the shapes committed so far,
 * so that a request which is measured and then refused leaves no trace.
 */
import { LRUCache } from "lru-cache";
import type { Gpu } from "../gpu/device.ts";
import { type DeviceModel, dryGpu } from "../gpu/dry_device.ts";
import { BindingLimitError } from "../gpu/errors.ts";
import { elements } from "../gpu/tensor.ts";
import { InvalidRequestError } from "../requests/errors.ts";
import { layOutModel, type PlacementOptions } from "../backends/load.ts";
import { skipLayerGuidance } from "../denoise/batch_step.ts";
import type { Components } from "../models/sd3/components.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import { StableDiffusion3Pipeline } from "../pipeline/stable_diffusion_3.ts";
import { isPlain, keptBy, type Step } from "../schedulers/step.ts";
import { scheduleSteps } from "../pipeline/schedule.ts";
import { imageTokens } from "../requests/model_info.ts";
import type { ResolvedRequest } from "../requests/types.ts";

export interface MemoryPlan {
  /** Bytes of the arena's slots, falling, after this request and all committed before it. */
  readonly slots: readonly number[];
  /** Bytes that count as arena and are no slots: textures, programs' parameters, a decoded image. */
  readonly fixed: number;
  /** Bytes that one encoding and one readback need for a moment; only one of each runs. */
  readonly workspace: number;
  /** Bytes that this request holds alone while it runs: latents, previews, prompts' embeddings. */
  readonly share: number;
  /** Patches of one image. */
  readonly tokens: number;
  /** Images of one step that the arena was measured for. */
  readonly maxBatch: number;
}

export interface PlanOptions {
  /** Most images of one step to plan for. */
  readonly maxBatch: number;
  /** Bytes that everything may take: the batch is planned smaller where it would not fit. */
  readonly budget?: number | undefined;
  /** Whether the request asks for previews. */
  readonly previews?: boolean | undefined;
  /** The request's steps; scheduled anew if absent. */
  readonly steps?: readonly Step[] | undefined;
}

/** Previews of one request on their way: one being read, one being made. */
const previewsInFlight = 2;
const plansKept = 256;

export class MemoryPlanner {
  /** Bytes of all networks. */
  readonly weights: number;
  readonly #model: ModelDescription;
  readonly #like: DeviceModel | undefined;
  readonly #components: (gpu: Gpu) => Promise<Components>;
  readonly #decodeBytes: number | undefined;
  readonly #plans = new LRUCache<string, Promise<MemoryPlan>>({ max: plansKept });
  #slots: readonly number[] = [];
  #fixed = 0;
  #workspace = 0;

  private constructor(
    weights: number,
    model: ModelDescription,
    like: DeviceModel | undefined,
    components: (gpu: Gpu) => Promise<Components>,
    decodeBytes: number | undefined,
  ) {
    this.weights = weights;
    this.#model = model;
    this.#like = like;
    this.#components = components;
    this.#decodeBytes = decodeBytes;
  }

  /**
   * @param like the device to plan for; without one, limits as GPUs offer them
   * @param options `decodeBytes` as the pipeline's own, the others as the model is loaded
   */
  static async open(
    model: ModelDescription,
    like?: DeviceModel,
    options: { readonly decodeBytes?: number | undefined } & PlacementOptions = {},
  ): Promise<MemoryPlanner> {
    const gpu = dryGpu(like);
    const components = await layOutModel(model, gpu, options);
    const weights = gpu.ledger.bytes("weights");
    return new MemoryPlanner(weights, model, like, components, options.decodeBytes);
  }

  /** Plans one request; requests of one shape share their plan. */
  plan(request: ResolvedRequest, { steps, ...options }: PlanOptions): Promise<MemoryPlan> {
    const kind = kindOf(steps ?? scheduleSteps(this.#model, request));
    const { height, width, maxSequenceLength, numImagesPerPrompt } = request;
    const key = JSON.stringify([
      height,
      width,
      maxSequenceLength,
      numImagesPerPrompt,
      request.guidanceScale > 1,
      hasNegativePrompt(request),
      request.skipGuidanceLayers,
      request.clipSkip,
      kind,
      options,
    ]);
    let plan = this.#plans.get(key);
    if (!plan) {
      this.#plans.set(key, plan = this.#fitting(request, kind, options));
      plan.catch(() => this.#plans.delete(key));
    }
    return plan;
  }

  /** Bytes of weights, arena and workspace once this request was let in, too. */
  baseWith(plan: MemoryPlan): number {
    return this.weights + this.arenaWith(plan) + Math.max(this.#workspace, plan.workspace);
  }

  /** Bytes that the arena grows to with this request and all that were let in before. */
  arenaWith({ slots, fixed }: MemoryPlan): number {
    return sum(larger(this.#slots, slots)) + Math.max(this.#fixed, fixed);
  }

  /** The request was let in: later plans come on top of it. */
  commit({ slots, fixed, workspace }: MemoryPlan): void {
    this.#slots = larger(this.#slots, slots);
    this.#fixed = Math.max(this.#fixed, fixed);
    this.#workspace = Math.max(this.#workspace, workspace);
  }

  async #fitting(
    request: ResolvedRequest,
    kind: StepKind,
    options: PlanOptions,
  ): Promise<MemoryPlan> {
    const { budget = Infinity } = options;
    for (let images = options.maxBatch;; images = Math.floor(images / 2)) {
      try {
        const plan = await this.#measure(request, kind, images, options.previews ?? false);
        if (images <= 1 || this.baseWith(plan) + plan.share <= budget) return plan;
      } catch (error) {
        // Some activation is larger than the device binds: fewer images make it smaller.
        if (!(error instanceof BindingLimitError)) throw error;
        if (images <= 1) throw tooLarge(request, error);
      }
    }
  }

  /** Encodes, takes `images` images one step further together and decodes one, all on nothing. */
  async #measure(
    request: ResolvedRequest,
    { slots, isPlain }: StepKind,
    images: number,
    previews: boolean,
  ): Promise<MemoryPlan> {
    const gpu = dryGpu(this.#like);
    gpu.arena.reserve(this.#slots);
    const pipeline = new StableDiffusion3Pipeline(gpu, this.#model, await this.#components(gpu), {
      maxBatch: () => images,
      promptCacheBytes: 0,
      decodeBytes: this.#decodeBytes,
    });
    const trial = {
      ...request,
      prompt: "a",
      skipLayerGuidanceStart: 0.1,
      skipLayerGuidanceStop: 0.5,
    };
    const shape = pipeline.latentShape(request.height, request.width);
    const next = { sample: 1, velocity: 0, noise: isPlain ? 0 : 1 };
    // Enough steps for one with layers skipped.
    const steps = Array.from({ length: request.skipGuidanceLayers ? 3 : 1 }, () => ({
      timestep: 1,
      sigma: 1,
      nextSigma: 1,
      next,
      keep: Array.from({ length: slots }, () => next),
    }));
    const { text, negativeText, release } = await pipeline.embed(trial, undefined);
    const textBytes = text.context.byteLength + text.pooled.byteLength;
    const tensors = Array.from(
      { length: images },
      () => gpu.createTensor(shape, "latents", "requests"),
    );
    const drawNoise = () => new Float32Array(elements(shape));
    const keptShape = [slots, ...shape.slice(1)];
    await Promise.all(tensors.map((latents) =>
      pipeline.batcher.denoise({
        kept: slots > 0 ? gpu.createTensor(keptShape, "kept", "requests") : undefined,
        ...{ latents, text, negativeText, steps, drawNoise },
        guidanceScale: request.guidanceScale,
        skipLayerGuidance: skipLayerGuidance(trial),
      })
    ));
    release();
    await pipeline.decodeStage.decode(tensors[0]!);
    if (previews) await pipeline.previewProjection.get();

    const { ledger, arena } = gpu;
    const texts = hasNegativePrompt(request) ? 2 : 1;
    const latents = 4 * elements(shape) * request.numImagesPerPrompt;
    return {
      slots: arena.sizes,
      // The networks' weights are elsewhere: these are tables made for this request's lengths.
      fixed: ledger.peakOf("arena") - sum(arena.sizes) + ledger.bytes("weights"),
      workspace: ledger.peakOf("cache") - textBytes + ledger.peakOf("other"),
      share: latents * (1 + slots + (previews ? previewsInFlight : 0)) + texts * textBytes,
      tokens: imageTokens(this.#model.info, request),
      maxBatch: images,
    };
  }
}

/** What a request's steps hold, whatever they compute. */
interface StepKind {
  /** Tensors kept for each image. */
  readonly slots: number;
  readonly isPlain: boolean;
}

function kindOf(steps: readonly Step[]): StepKind {
  return { slots: keptBy(steps), isPlain: steps.every(isPlain) };
}

function tooLarge({ height, width }: ResolvedRequest, { message }: Error) {
  return new InvalidRequestError(
    "height",
    `height ${height} and width ${width} are more than this device can work on: ${message}`,
  );
}

/** The empty negative prompt is everybody's: the prompt cache keeps it. */
function hasNegativePrompt(request: ResolvedRequest): boolean {
  const { negativePrompt, negativePrompt2, negativePrompt3 } = request;
  return request.guidanceScale > 1 &&
    [negativePrompt, negativePrompt2, negativePrompt3].some((prompt) => prompt !== "");
}

function larger(a: readonly number[], b: readonly number[]): number[] {
  return Array.from(
    { length: Math.max(a.length, b.length) },
    (_, i) => Math.max(a[i] ?? 0, b[i] ?? 0),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
