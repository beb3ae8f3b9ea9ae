/**
 * Stable Diffusion 3: prompt -> tokens -> embeddings -> latents -> steps -> image, with the numbers
 * of diffusers' StableDiffusion3Pipeline in float32.
 *
 * The pipeline holds components and no request's state: whatever a call changes is made in the call.
 * Its fields are plain properties, since request-scoped views delegate to it by prototype.
 */
import type { Gpu } from "../gpu/device.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import type { Components, PreparedText } from "../models/sd3/components.ts";
import { TorchCpuGenerator } from "../random/torch_cpu.ts";
import type { Scheduler, Step } from "../schedulers/mod.ts";
import { keptBy } from "../schedulers/step.ts";
import { embedPrompt, type PromptTokens } from "../models/sd3/embed_prompt.ts";
import { skipLayerGuidance } from "../denoise/batch_step.ts";
import { DecodeStage } from "./decode_stage.ts";
import { type BatcherOptions, DenoiseBatcher } from "../denoise/batcher.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import { type PromptTriple, t5Length, tokenize } from "../models/sd3/tokenize.ts";
import { PreviewProjection, Previews } from "./previews.ts";
import { PromptCache, type TextLease } from "./prompt_cache.ts";
import { defaultRequestLimits, type RequestLimits } from "../requests/model_info.ts";
import { resolveRequest } from "../requests/request.ts";
import { scheduleSteps } from "./schedule.ts";
import type {
  GeneratedImage,
  GenerateOptions,
  GenerateResult,
  TruncatedPrompt,
} from "../engine/types.ts";
import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";

export interface PipelineOptions extends Pick<BatcherOptions, "onTurn" | "recordAhead"> {
  /** What requests may ask for, of what the model can do. */
  readonly limits?: RequestLimits | undefined;
  /** Bytes of prompt embeddings kept for later requests. */
  readonly promptCacheBytes?: number | undefined;
  /** Most images in one step of images of this many tokens. */
  readonly maxBatch?: ((tokens: number) => number) | undefined;
  /** Bytes that decoding may use for activations; larger images are decoded in tiles. */
  readonly decodeBytes?: number | undefined;
}

/** One image on its way: nobody else's. */
interface DrawnImage {
  readonly seed: number;
  readonly generator: TorchCpuGenerator;
  /** f32 [1, C, h, w] */
  readonly latents: Tensor;
  /** f32 [slots, C, h, w]: what a scheduler with a history keeps between steps. */
  readonly kept?: Tensor;
}

const defaultCacheBytes = 256 * 2 ** 20;
const defaultMaxBatch = 8;

export class StableDiffusion3Pipeline {
  readonly gpu: Gpu;
  readonly model: ModelDescription;
  readonly limits: RequestLimits;
  readonly components: Components;
  /** Makes each request's steps, and stays as it is. */
  readonly scheduler: Scheduler;
  readonly promptCache: PromptCache;
  readonly batcher: DenoiseBatcher;
  readonly decodeStage: DecodeStage;
  readonly previewProjection: PreviewProjection;

  constructor(
    gpu: Gpu,
    model: ModelDescription,
    components: Components,
    options: PipelineOptions = {},
  ) {
    this.gpu = gpu;
    this.model = model;
    this.limits = options.limits ?? defaultRequestLimits;
    this.components = components;
    this.scheduler = model.scheduler;
    this.promptCache = new PromptCache({
      maxBytes: options.promptCacheBytes ?? defaultCacheBytes,
      destroy: ({ context, pooled }) => gpu.destroyTensor(context, pooled),
    });
    this.batcher = new DenoiseBatcher(gpu, components.transformer, {
      maxBatch: options.maxBatch ?? (() => defaultMaxBatch),
      onTurn: options.onTurn,
      recordAhead: options.recordAhead,
    });
    this.decodeStage = new DecodeStage(gpu, components.decoder, {
      maxBytes: options.decodeBytes,
    });
    this.previewProjection = new PreviewProjection(gpu, components.decoder);
  }

  /**
   * Makes the images of one request.
   *
   * @throws {InvalidRequestError} before any GPU work
   * @throws {Error} the signal's reason within a step of an abort, or a GPU error that this request's
   * own work caused
   */
  async generate(request: GenerateRequest, options: GenerateOptions = {}): Promise<GenerateResult> {
    options.signal?.throwIfAborted();
    const resolved = resolveRequest(request, { model: this.model.info, limits: this.limits });
    return await this.run(resolved, this.schedule(resolved), options);
  }

  /** As `generate`, for a request that is resolved for this model and its limits already. */
  async run(
    resolved: ResolvedRequest,
    steps: readonly Step[],
    options: GenerateOptions = {},
  ): Promise<GenerateResult> {
    const { signal } = options;
    signal?.throwIfAborted();
    const started = performance.now();
    const prompts = await this.embed(resolved, signal);
    const drawn: DrawnImage[] = [];
    try {
      const encoded = performance.now();
      const encodeBytes = this.gpu.ledger.total;
      for (let k = 0; k < resolved.numImagesPerPrompt; k++) {
        drawn.push(this.begin(resolved, steps, resolved.seed + k));
      }
      await this.denoise(resolved, steps, prompts, drawn, options);
      const denoised = performance.now();
      const denoiseBytes = this.gpu.ledger.total;

      const images: GeneratedImage[] = [];
      for (const { latents, seed } of drawn) {
        images.push({ ...await this.decodeStage.decode(latents, { signal }), seed });
      }
      const ended = performance.now();
      return {
        images,
        parameters: resolved,
        truncated: prompts.truncated,
        memory: { encode: encodeBytes, denoise: denoiseBytes, decode: this.gpu.ledger.total },
        timings: {
          queued: 0,
          encode: (encoded - started) / 1000,
          denoise: (denoised - encoded) / 1000,
          decode: (ended - denoised) / 1000,
          total: (ended - started) / 1000,
        },
      };
    } finally {
      for (const { latents, kept } of drawn) {
        this.gpu.destroyTensor(latents, ...(kept ? [kept] : []));
      }
      prompts.release();
    }
  }

  /** The request's own steps; the scheduler stays as it is. */
  schedule(request: ResolvedRequest): readonly Step[] {
    return scheduleSteps({ info: this.model.info, scheduler: this.scheduler }, request);
  }

  /** Embeddings of prompt and, under guidance, negative prompt; on loan from the cache. */
  async embed(request: ResolvedRequest, signal: AbortSignal | undefined) {
    const leases: TextLease[] = [];
    const truncated: TruncatedPrompt[] = [];
    const acquire = async (field: TruncatedPrompt["field"], triple: PromptTriple, clipSkip = 0) => {
      const { maxSequenceLength } = request;
      const tokenized = await tokenize(this.model.tokenizers, triple, maxSequenceLength);
      truncated.push(...tokenized.truncated.map((cut) => ({ ...cut, field })));
      const lease = await this.promptCache.acquire(
        JSON.stringify([triple, maxSequenceLength, clipSkip]),
        () => this.prepareText(tokenized.tokens, maxSequenceLength, clipSkip),
        { pin: clipSkip === 0 && triple.every((prompt) => prompt === ""), signal },
      );
      leases.push(lease);
      return lease.text;
    };
    const release = () => leases.forEach((lease) => lease.release());
    try {
      const { prompt, prompt2, prompt3, clipSkip } = request;
      const text = await acquire("prompt", [prompt, prompt2, prompt3], clipSkip);
      signal?.throwIfAborted();
      const { negativePrompt, negativePrompt2, negativePrompt3 } = request;
      // As in diffusers, `clip_skip` is not for the negative prompt.
      const negativeText = request.guidanceScale > 1
        ? await acquire("negative_prompt", [negativePrompt, negativePrompt2, negativePrompt3])
        : undefined;
      signal?.throwIfAborted();
      return { text, negativeText, truncated, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async prepareText(
    tokens: PromptTokens,
    maxSequenceLength: number,
    clipSkip = 0,
  ): Promise<PreparedText> {
    const { transformer, ...encoders } = this.components;
    const { promptEmbeds, pooled } = await embedPrompt(this.gpu, encoders, tokens, {
      width: this.model.configs.transformer.joint_attention_dim,
      t5Length: t5Length(this.model.tokenizers, maxSequenceLength),
      clipSkip,
    });
    const length = promptEmbeds.shape[1]!;
    const { contextWidth, pooledWidth } = transformer;
    const context = this.gpu.createTensor([1, length, contextWidth], "context", "cache");
    const text = {
      context,
      pooled: this.gpu.createTensor([1, pooledWidth], "pooled", "cache"),
    };
    try {
      await transformer.prepareText(promptEmbeds, pooled, text);
      return text;
    } catch (error) {
      this.gpu.destroyTensor(text.context, text.pooled);
      throw error;
    } finally {
      this.gpu.destroyTensor(promptEmbeds, pooled);
    }
  }

  /** Noise [1, C, h, w] as torch draws it for one image. */
  initialLatents({ height, width }: ResolvedRequest, generator: TorchCpuGenerator): Tensor {
    const shape = this.latentShape(height, width);
    return this.gpu.upload(generator.randn(elements(shape)), shape, "latents", "requests");
  }

  /** What is one image's own until it is done, beginning with noise of its seed. */
  begin(request: ResolvedRequest, steps: readonly Step[], seed: number): DrawnImage {
    const generator = new TorchCpuGenerator(seed);
    const latents = this.initialLatents(request, generator);
    const slots = keptBy(steps);
    if (slots === 0) return { seed, generator, latents };
    const shape = [slots, ...latents.shape.slice(1)];
    return { seed, generator, latents, kept: this.gpu.createTensor(shape, "kept", "requests") };
  }

  latentShape(height: number, width: number): [number, number, number, number] {
    const { patch_size, in_channels } = this.model.configs.transformer;
    const scale = this.model.info.sizeMultiple / patch_size;
    return [1, in_channels, height / scale, width / scale];
  }

  /** Tokens of the context: CLIP's, then T5's. */
  contextLength(maxSequenceLength: number): number {
    const { tokenizers } = this.model;
    return tokenizers.clipL.modelMaxLength + t5Length(tokenizers, maxSequenceLength);
  }

  /** Takes every image of the request through all steps, in place. */
  async denoise(
    request: ResolvedRequest,
    steps: readonly Step[],
    { text, negativeText }: { text: PreparedText; negativeText: PreparedText | undefined },
    images: readonly DrawnImage[],
    { signal, onProgress, previewEvery = 0 }: GenerateOptions,
  ): Promise<void> {
    // One image's failure ends the request: the others stop at their next step, too.
    const stop = new AbortController();
    const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    const previews = new Previews(
      this.gpu,
      this.previewProjection,
      steps.length,
      onProgress ? previewEvery : 0,
    );
    let reported = 0;
    const reached = images.map(() => 0);
    const report = async (step: number) => {
      const pixels = await previews.take(step);
      if (both.aborted) return;
      const { timestep, sigma } = steps[step - 1]!;
      onProgress?.({
        type: "progress",
        step,
        steps: steps.length,
        timestep,
        sigma,
        ...(pixels && { previews: pixels }),
      });
    };
    let reports = Promise.resolve();
    const results = await Promise.allSettled(
      images.map(({ latents, kept, generator }, k) =>
        this.batcher.denoise({
          latents,
          kept,
          text,
          negativeText,
          guidanceScale: request.guidanceScale,
          skipLayerGuidance: skipLayerGuidance(request),
          steps,
          drawNoise: () => generator.randn(elements(latents.shape)),
          signal: both,
          snapshot: (step) => previews.tensor(step, k, latents.shape),
          onStep: (step) => {
            reached[k] = step;
            // The request has done a step when all its images have.
            const all = Math.min(...reached);
            if (all <= reported) return;
            reported = all;
            reports = reports.then(() => report(all));
            reports.catch((error) => stop.abort(error));
          },
        }).catch((error) => {
          stop.abort(error);
          throw error;
        })
      ),
    );
    try {
      await reports;
    } finally {
      previews.dispose();
    }
    signal?.throwIfAborted();
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw stop.signal.aborted ? stop.signal.reason : failed.reason;
  }

  /** Frees what the pipeline made; the device stays. */
  dispose(): void {
    this.promptCache.dispose();
    this.decodeStage.dispose();
    for (const component of Object.values(this.components)) component?.dispose();
  }
}
