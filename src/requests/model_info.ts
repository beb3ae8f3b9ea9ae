/** What a request is resolved against: a model as it describes itself, and the operator's limits. */

export interface Recommended {
  readonly skipGuidanceLayers: readonly number[];
  readonly skipLayerGuidanceScale: number;
  readonly skipLayerGuidanceStart: number;
  readonly skipLayerGuidanceStop: number;
}

/** What a loaded model says of itself: defaults and limits that a request is resolved against. */
export interface ModelInfo {
  /** Name of the model, from its folder or as given. */
  readonly name: string;
  /** `_class_name` of model_index.json. */
  readonly type: string;
  /** Which published model it is, where its files say so. */
  readonly variant?: string | undefined;
  readonly defaults: {
    readonly height: number;
    readonly width: number;
    readonly numInferenceSteps: number;
    readonly guidanceScale: number;
    readonly maxSequenceLength: number;
  };
  /** Fields of a request as the model's makers recommend them where they are used at all. */
  readonly recommended?: Recommended | undefined;
  /** Height and width must be multiples of this. */
  readonly sizeMultiple: number;
  /** Largest height or width that the positional table covers, in pixels. */
  readonly maxSize: number;
  /** Transformer blocks, for `skipGuidanceLayers`. */
  readonly numLayers: number;
  /** False where the transformer is an ONNX graph, which cannot leave layers out. */
  readonly skipsLayers?: boolean | undefined;
  /** Layers of the CLIP that has fewer, for `clipSkip`. */
  readonly clipLayers: number;
  /** Upper bound of `maxSequenceLength`. */
  readonly maxSequenceLength: number;
}

/** Patches of one image: the tokens of its part of the transformer's sequence. */
export function imageTokens(
  { sizeMultiple }: Pick<ModelInfo, "sizeMultiple">,
  { height, width }: { readonly height: number; readonly width: number },
): number {
  return (height / sizeMultiple) * (width / sizeMultiple);
}

/** What is allowed of what the model can do: the operator's choice, and what the status publishes. */
export interface RequestLimits {
  /** Pixels of a side. */
  readonly maxSize: number;
  readonly maxSteps: number;
  readonly maxImages: number;
  /** Characters (UTF-16 units) of each prompt field. */
  readonly maxPromptLength: number;
}

/** Where no operator says otherwise. */
export const defaultRequestLimits: RequestLimits = {
  maxSize: 16_384,
  maxSteps: 1000,
  maxImages: 64,
  maxPromptLength: 100_000,
};

/** What a request is resolved against; an engine's status has both. */
export interface RequestRules {
  readonly model: ModelInfo;
  readonly limits: RequestLimits;
}
