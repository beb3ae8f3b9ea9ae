/**
 * What a request will take of the GPU's memory, known before it starts: a twin of the pipeline runs
 * one step of it on a device that holds nothing, and its ledger is read.
 */
import type { Gpu } from "../gpu/device.ts";
import { dryGpu } from "../gpu/dry_device.ts";
import { layOutModel } from "./load.ts";
import type { ModelDescription } from "./model.ts";
import { StableDiffusion3Pipeline } from "./stable_diffusion_3.ts";
import type { ResolvedRequest } from "./types.ts";

export interface MemoryPlan {
  /** Bytes of all networks. */
  readonly weights: number;
  /** Bytes of the arena after this request and all planned before it: shared by all requests. */
  readonly arena: number;
  /** Bytes that this request holds alone while it runs: latents and its prompt's embeddings. */
  readonly share: number;
}

export class MemoryPlanner {
  readonly #gpu: Gpu;
  readonly #pipeline: StableDiffusion3Pipeline;
  readonly #plans = new Map<string, Promise<MemoryPlan>>();
  #last: Promise<unknown> = Promise.resolve();

  private constructor(gpu: Gpu, pipeline: StableDiffusion3Pipeline) {
    this.#gpu = gpu;
    this.#pipeline = pipeline;
  }

  /**
   * @param like the device to plan for; without one, WebGPU's guaranteed limits
   * @param maxBatch as the pipeline's own: the arena is as large as its largest batch
   */
  static async open(
    model: ModelDescription,
    { like, maxBatch }: {
      like?: Pick<Gpu, "limits" | "adapter"> | undefined;
      maxBatch: (tokens: number) => number;
    },
  ): Promise<MemoryPlanner> {
    const gpu = dryGpu(like);
    const components = await layOutModel(model, gpu);
    const pipeline = new StableDiffusion3Pipeline(gpu, model, components, {
      maxBatch,
      promptCacheBytes: 0,
    });
    return new MemoryPlanner(gpu, pipeline);
  }

  /** Plans one request at a time; requests of one shape share their plan. */
  plan(request: ResolvedRequest): Promise<MemoryPlan> {
    const { height, width, maxSequenceLength, numImagesPerPrompt, skipLayerGuidance } = request;
    const key = JSON.stringify([
      height,
      width,
      maxSequenceLength,
      numImagesPerPrompt,
      request.guidanceScale > 1,
      skipLayerGuidance?.layers,
    ]);
    let plan = this.#plans.get(key);
    if (!plan) {
      this.#plans.set(key, plan = this.#last.then(() => this.#measure(request)));
      this.#last = plan.catch(() => this.#plans.delete(key));
    }
    return plan;
  }

  async #measure(request: ResolvedRequest): Promise<MemoryPlan> {
    const { ledger } = this.#gpu;
    const tokens = request.height * request.width / this.#pipeline.model.info.sizeMultiple ** 2;
    const skip = request.skipLayerGuidance;
    // As many images as ever share a step, so that the arena is that of the largest batch.
    const images = Math.max(1, this.#pipeline.batcher.maxBatch(tokens));
    await this.#pipeline.generate({
      ...request,
      prompt: "a",
      sigmas: undefined,
      // Enough steps for one with layers skipped.
      numInferenceSteps: skip ? 3 : 1,
      numImagesPerPrompt: images,
      skipLayerGuidance: skip && { ...skip, start: 0.1, stop: 0.5 },
    });
    const latents = this.#pipeline.latentShape(request.height, request.width);
    const { transformer } = this.#pipeline.components;
    const length = this.#pipeline.contextLength(request.maxSequenceLength);
    const text = (length * transformer.contextWidth + transformer.pooledWidth) * 4;
    return {
      weights: ledger.bytes("weights"),
      arena: ledger.peakOf("arena"),
      share: request.numImagesPerPrompt * latents.reduce((a, b) => a * b) * 4 + text,
    };
  }
}
