/** What a caller asks for. Plain data, so that every value here can cross a worker boundary. */

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
