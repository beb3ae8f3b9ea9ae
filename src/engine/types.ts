/**
 * The words that the pipeline, the worker, the HTTP server, the command line and the page share:
 * what a caller hears while it waits, and what it gets. Plain data throughout, so that every value
 * here can cross a worker boundary.
 */
import type { RgbImage } from "../image/rgb_image.ts";
import type { RequestRules } from "../requests/model_info.ts";
import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";

/** What a waiting caller hears: its place in line, then each step that all its images have done. */
export type ProgressEvent =
  /** Place in line, which only falls; 0 when the request starts. */
  | { readonly type: "queued"; readonly position: number }
  | {
    readonly type: "progress";
    /** Counts from 1. */
    readonly step: number;
    readonly steps: number;
    readonly timestep: number;
    readonly sigma: number;
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
  /** A throw ends the request. */
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined;
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
  /** Most images in one step that memory and the options allow. */
  readonly maxBatch: number;
}

export interface BatchReport {
  /** Patches of one image. */
  readonly tokens: number;
  /** Most images of a step now. */
  readonly images: number;
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

export interface EngineStatus extends RequestRules {
  /** What runs each network: "wgsl" or "onnx". */
  readonly backends?: Readonly<Record<string, string>> | undefined;
  /** What the weights were asked to be in GPU memory: "auto", "f32", "q8_0" or "q4_0". */
  readonly weightType?: string | undefined;
  /** Which family of kernels runs: "gpu" or "software". */
  readonly kernels?: string | undefined;
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
  /** As `generate`, for a request that `resolveRequest` made for this engine's model and limits. */
  run(request: ResolvedRequest, options?: GenerateOptions): Promise<GenerateResult>;
  status(): EngineStatus;
  /** Settles when the engine can no longer answer: undefined after `close()`, else the cause. */
  readonly closed: Promise<Error | undefined>;
  close(): Promise<void>;
}
