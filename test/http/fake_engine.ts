/**
 * An engine without a GPU: images that depend on the request alone, a pace that the test sets,
 * and every failure that a real one has.
 */

import { DeviceLostError } from "../../src/gpu/errors.ts";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import type {
  Engine,
  EngineStatus,
  GeneratedImage,
  GenerateOptions,
  GenerateResult,
  TuningReport,
} from "../../src/engine/types.ts";
import type { GenerateRequest, ResolvedRequest } from "../../src/requests/types.ts";
import {
  defaultRequestLimits,
  type ModelInfo,
  type RequestLimits,
} from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { RgbImage } from "../../src/image/rgb_image.ts";

export interface FakeEngineOptions {
  /** Milliseconds; 0 takes a turn of the event loop. */
  readonly stepMs?: number;
  readonly model?: Partial<ModelInfo>;
  readonly limits?: RequestLimits;
  readonly tuning?: TuningReport;
  /** Thrown by a request with this prompt, after its first step. */
  readonly failures?: Readonly<Record<string, () => Error>>;
}

const bytesOfRequest = 1000;

export class FakeEngine implements Engine {
  readonly closed: Promise<Error | undefined>;
  /** Steps that ran, of every request. */
  steps = 0;
  /** Most requests that ran at once. */
  mostActive = 0;
  readonly requests: ResolvedRequest[] = [];
  /** While set, steps wait for it. */
  gate: Promise<void> | undefined;
  readonly #options: FakeEngineOptions;
  readonly #end = Promise.withResolvers<Error | undefined>();
  readonly #lost = new AbortController();
  #total = 0;
  #active = 0;

  constructor(options: FakeEngineOptions = {}) {
    this.#options = options;
    this.closed = this.#end.promise;
  }

  async generate(request: GenerateRequest, options?: GenerateOptions): Promise<GenerateResult> {
    return await this.run(resolveRequest(request, this.status()), options);
  }

  async run(
    request: ResolvedRequest,
    { signal, onProgress, previewEvery = 0 }: GenerateOptions = {},
  ): Promise<GenerateResult> {
    const started = performance.now();
    this.#lost.signal.throwIfAborted();
    signal?.throwIfAborted();
    if (request.prompt === "the engine refuses this") {
      throw new InvalidRequestError("prompt", "prompt: the engine refuses this");
    }
    this.requests.push(request);
    this.#total++;
    this.#active++;
    this.mostActive = Math.max(this.mostActive, this.#active);
    try {
      onProgress?.({ type: "queued", position: 0 });
      const steps = request.numInferenceSteps;
      for (let step = 1; step <= steps; step++) {
        await this.#pause();
        await this.gate;
        this.#lost.signal.throwIfAborted();
        signal?.throwIfAborted();
        this.steps++;
        const sigma = 1 - step / steps;
        const wanted = previewEvery > 0 && step % previewEvery === 0;
        onProgress?.({
          type: "progress",
          step,
          steps,
          timestep: sigma * 1000,
          sigma,
          previews: wanted ? drawAll(request, 8) : undefined,
        });
        const failure = this.#options.failures?.[request.prompt];
        if (failure !== undefined) throw failure();
      }
      const total = (performance.now() - started) / 1000;
      return {
        images: drawAll(request, 1),
        parameters: request,
        timings: { queued: 0, encode: 0, denoise: total, decode: 0, total },
        memory: { encode: 60_000, denoise: 61_000, decode: 61_000 },
        truncated: [],
      };
    } finally {
      this.#active--;
    }
  }

  status(): EngineStatus {
    return {
      model: { ...fakeModel, ...this.#options.model },
      limits: this.#options.limits ?? { ...defaultRequestLimits, maxSteps: 100_000 },
      memory: {
        weights: 50_000,
        arena: 10_000,
        requests: this.#active * bytesOfRequest,
        cache: 0,
        budget: 1_000_000,
      },
      adapter: { vendor: "fake", architecture: "none", description: "No GPU", features: [] },
      requests: { total: this.#total, active: this.#active, waiting: 0 },
      promptCache: { hits: 0, misses: this.#total },
      defaultRequest: { share: bytesOfRequest, arena: 10_000, maxBatch: 8 },
      ...(this.#options.tuning && { tuning: this.#options.tuning }),
    };
  }

  /** Lost or closed. */
  get isOver(): boolean {
    return this.#lost.signal.aborted;
  }

  /** The device goes away: what runs fails, and the engine is over. */
  lose(error: Error = new DeviceLostError("The device was lost: a test says so")): void {
    this.#lost.abort(error);
    this.#end.resolve(error);
  }

  async close(): Promise<void> {
    this.#lost.abort(new DOMException("The engine is closed", "AbortError"));
    this.#end.resolve(undefined);
    await this.closed;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, this.#options.stepMs ?? 0));
  }
}

export const fakeModel: ModelInfo = {
  name: "fake-sd3",
  type: "StableDiffusion3Pipeline",
  variant: "SD3.5-medium",
  recommended: {
    skipGuidanceLayers: [1, 2],
    skipLayerGuidanceScale: 2.8,
    skipLayerGuidanceStart: 0.01,
    skipLayerGuidanceStop: 0.2,
  },
  defaults: {
    height: 32,
    width: 32,
    numInferenceSteps: 4,
    guidanceScale: 7,
    maxSequenceLength: 256,
  },
  sizeMultiple: 16,
  maxSize: 1024,
  numLayers: 6,
  clipLayers: 4,
  maxSequenceLength: 512,
};

function drawAll(request: ResolvedRequest, shrink: number): GeneratedImage[] {
  return Array.from({ length: request.numImagesPerPrompt }, (_, index) => {
    const seed = request.seed + index;
    return { ...draw(request, seed, shrink), seed };
  });
}

/** Every field that must reach the core changes the pixels. */
function draw(request: ResolvedRequest, seed: number, shrink: number): RgbImage {
  const [width, height] = [request.width / shrink, request.height / shrink];
  const { prompt, negativePrompt, numInferenceSteps, guidanceScale } = request;
  let state = hash(
    JSON.stringify([prompt, negativePrompt, numInferenceSteps, guidanceScale, seed]),
  );
  const data = new Uint8Array(width * height * 3);
  for (let k = 0; k < data.length; k++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[k] = state >>> 24;
  }
  return { width, height, data };
}

function hash(text: string): number {
  let value = 2166136261;
  for (const unit of text) value = Math.imul(value ^ unit.codePointAt(0)!, 16777619);
  return value >>> 0;
}
