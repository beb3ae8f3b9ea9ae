import type { SkipLayerGuidance } from "./types.ts";

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
  /** What the model's makers recommend and is no default. */
  readonly recommended?: { readonly skipLayerGuidance?: SkipLayerGuidance | undefined } | undefined;
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
