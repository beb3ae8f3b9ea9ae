/**
 * The words that the pipeline, the worker, the HTTP server, the command line and the page share:
 * what a caller asks for, what it hears while it waits, and what it gets. Plain data throughout,
 * so that every value here can cross a worker boundary.
 */

/** Skip-layer guidance as diffusers has it (`skip_guidance_layers` and its three companions). */
export interface SkipLayerGuidance {
  /** Indices of the transformer blocks left out of the extra prediction. */
  readonly layers: readonly number[];
  /** Weight of `(conditional - skipped)`; diffusers' default 2.8. */
  readonly scale: number;
  /** Active while `step > start * steps`, as a fraction of the steps; default 0.01. */
  readonly start: number;
  /** Active while `step < stop * steps`; default 0.2. */
  readonly stop: number;
}

/** One call of the pipeline, in diffusers' words. Absent fields take the model's defaults. */
export interface GenerateRequest {
  readonly prompt: string;
  /** For the second CLIP; `prompt` if absent. */
  readonly prompt2?: string | undefined;
  /** For T5; `prompt` if absent. */
  readonly prompt3?: string | undefined;
  readonly negativePrompt?: string | undefined;
  readonly negativePrompt2?: string | undefined;
  readonly negativePrompt3?: string | undefined;
  /** Pixels; a multiple of 16 for SD3. */
  readonly height?: number | undefined;
  readonly width?: number | undefined;
  readonly numInferenceSteps?: number | undefined;
  readonly guidanceScale?: number | undefined;
  /** Custom schedule; replaces `numInferenceSteps`. */
  readonly sigmas?: readonly number[] | undefined;
  readonly numImagesPerPrompt?: number | undefined;
  /** Tokens of T5's part of the context. */
  readonly maxSequenceLength?: number | undefined;
  /** Image k is drawn with `seed + k`; drawn at random if absent. */
  readonly seed?: number | undefined;
  readonly skipLayerGuidance?: Partial<SkipLayerGuidance> | undefined;
}

/** A request with every default filled in and every value checked (`resolveRequest`). */
export interface ResolvedRequest {
  readonly prompt: string;
  readonly prompt2: string;
  readonly prompt3: string;
  readonly negativePrompt: string;
  readonly negativePrompt2: string;
  readonly negativePrompt3: string;
  readonly height: number;
  readonly width: number;
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  readonly sigmas?: readonly number[] | undefined;
  readonly numImagesPerPrompt: number;
  readonly maxSequenceLength: number;
  readonly seed: number;
  readonly skipLayerGuidance?: SkipLayerGuidance | undefined;
}

/** Eight-bit RGB pixels, row by row, three bytes a pixel. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** A step that is done; steps count from 1. */
export interface StepReport {
  readonly step: number;
  readonly steps: number;
  readonly timestep: number;
  readonly sigma: number;
}

/** What a waiting caller hears. */
export type ProgressEvent =
  | { readonly type: "queued"; readonly position: number }
  | StepReport & {
    readonly type: "progress";
    /** One small image for each image of the request, where previews were asked for. */
    readonly previews?: readonly RgbImage[] | undefined;
  };

/** Seconds. `total` runs from the call to the result and includes the wait in the queue. */
export interface Timings {
  readonly queued: number;
  readonly encode: number;
  readonly denoise: number;
  readonly decode: number;
  readonly total: number;
}

export interface GeneratedImage extends RgbImage {
  readonly seed: number;
}

export interface GenerateResult {
  readonly images: readonly GeneratedImage[];
  readonly parameters: ResolvedRequest;
  readonly timings: Timings;
  /** Bytes of GPU memory in use by everything on the device at the end of each stage. */
  readonly memory: { readonly encode: number; readonly denoise: number; readonly decode: number };
  /** Encoders whose token limit cut the prompt, with what was left out. */
  readonly truncated: readonly TruncatedPrompt[];
}

export interface TruncatedPrompt {
  readonly encoder: "clip_l" | "clip_g" | "t5";
  readonly field: "prompt" | "negative_prompt";
  /** The text of the tokens that did not fit. */
  readonly removed: string;
}

export interface GenerateOptions {
  /** Stops the request within one step; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined;
  /** After each step that all images of the request have done; a throw ends the request. */
  readonly onStep?: ((step: StepReport) => void) | undefined;
  /** Adds a preview to every k-th progress event; 0 or absent: none. */
  readonly previewEvery?: number | undefined;
}

/** Bytes of GPU memory, by owner. `budget` is what admission may use. */
export interface MemoryReport {
  readonly weights: number;
  readonly arena: number;
  readonly requests: number;
  readonly cache: number;
  readonly budget: number;
}

/** What a loaded model says of itself: defaults and limits that a request is resolved against. */
export interface ModelInfo {
  /** Name of the model, from its folder or as given. */
  readonly name: string;
  /** `_class_name` of model_index.json. */
  readonly type: string;
  readonly defaults: {
    readonly height: number;
    readonly width: number;
    readonly numInferenceSteps: number;
    readonly guidanceScale: number;
    readonly maxSequenceLength: number;
  };
  /** Height and width must be multiples of this. */
  readonly sizeMultiple: number;
  /** Largest height or width that the positional table covers, in pixels. */
  readonly maxSize: number;
  /** Transformer blocks, for `skipLayerGuidance.layers`. */
  readonly numLayers: number;
  /** False where the transformer is an ONNX graph, which cannot leave layers out. */
  readonly skipsLayers?: boolean | undefined;
  /** Upper bound of `maxSequenceLength`. */
  readonly maxSequenceLength: number;
}

export interface AdapterReport {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly features: readonly string[];
  /** Bits of the SIMD vectors a software adapter compiles for, where known. */
  readonly vectorBits?: number | undefined;
}

export interface RequestCounts {
  /** Since the start, whatever became of them. */
  readonly total: number;
  readonly active: number;
  readonly waiting: number;
}

/** Bytes and batch of a request of the model's default size, under guidance. */
export interface RequestPlan {
  /** What each such request adds while it runs: latents and embeddings. */
  readonly share: number;
  /** What the arena grows to for `maxBatch` of them; all requests share it. */
  readonly arena: number;
  /** Most samples in one step that memory and the options allow. */
  readonly maxBatch: number;
}

export interface BatchReport {
  /** Patches of one image. */
  readonly tokens: number;
  /** Most samples of a step now. */
  readonly samples: number;
  readonly source: "measuring" | "measured" | "cached" | "fixed";
}

/** What was measured on the adapter. */
export interface TuningReport {
  /** Spent on timing kernels. */
  readonly seconds: number;
  /** Which kernel each shape takes: "default" where the time did not suffice. */
  readonly kernels: readonly {
    readonly key: string;
    readonly choice: string;
    readonly source: "measured" | "cached" | "default";
  }[];
  readonly batches: readonly BatchReport[];
  /** Why results are not kept, or earlier ones not used. */
  readonly problem?: string | undefined;
}

export interface EngineStatus {
  readonly model: ModelInfo;
  /** Which engine runs each network: "wgsl" or "onnx". */
  readonly engines?: Readonly<Record<string, string>> | undefined;
  /** What the weights were asked to be in GPU memory: "auto", "f32", "q8_0" or "q4_0". */
  readonly weightType?: string | undefined;
  readonly memory: MemoryReport;
  readonly adapter: AdapterReport;
  readonly requests: RequestCounts;
  /** Prompts whose embeddings were known, and prompts that were encoded. */
  readonly promptCache: { readonly hits: number; readonly misses: number };
  readonly defaultRequest: RequestPlan;
  /** Absent where kernels are not timed. */
  readonly tuning?: TuningReport | undefined;
}

/**
 * A model that answers requests, wherever it lives: in this thread or behind a worker. The HTTP
 * server and the page know nothing else of the core.
 */
export interface Engine {
  /** Rejects with `InvalidRequestError`, `BusyError`, the signal's reason, or a GPU error. */
  generate(request: GenerateRequest, options?: GenerateOptions): Promise<GenerateResult>;
  status(): EngineStatus;
  /** Settles when the engine can no longer answer: undefined after `close()`, else the cause. */
  readonly closed: Promise<Error | undefined>;
  close(): Promise<void>;
}
