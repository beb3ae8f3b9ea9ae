/**
 * What the pipeline asks of its networks. The WGSL networks and the ONNX ones implement the same
 * interfaces, so that a model may mix them; nothing above this file knows which one runs.
 *
 * Inputs and outputs are tensors of the caller. A call resolves when its commands are valid and
 * queued, not when they are done.
 */
import type { Tensor } from "../../gpu/tensor.ts";
import type { TransformerConfig, VaeConfig } from "./configs.ts";

export interface ClipComponent {
  readonly hiddenSize: number;
  readonly projectionDim: number;
  /**
   * @param ids one row of token ids, padded
   * @param out hidden state [1, T, hiddenSize] and pooled text [1, projectionDim]
   * @param skip 0 for the last hidden state but one, k for the one k layers before it
   */
  embed(
    ids: Int32Array<ArrayBuffer>,
    out: { hidden: Tensor; pooled: Tensor },
    skip?: number,
  ): Promise<void>;
  dispose(): void;
}

export interface T5Component {
  readonly hiddenSize: number;
  /** @param out [1, T, hiddenSize] */
  embed(ids: Int32Array<ArrayBuffer>, out: Tensor): Promise<void>;
  dispose(): void;
}

/** A prompt as the transformer wants it at every step. */
export interface PreparedText {
  /** [1, T, contextWidth] */
  readonly context: Tensor;
  /** [1, pooledWidth] */
  readonly pooled: Tensor;
}

/** The shape of one step: which programs are recorded and which images may share one. */
export interface StepShape {
  /** Latent rows and columns. */
  readonly height: number;
  readonly width: number;
  readonly contextLength: number;
  /** Images whose latents this step moves. */
  readonly images: number;
  /** How many of them, the last ones, are moved by a scheduler with noise or a history. */
  readonly combined: number;
  /** Tensors that such a scheduler keeps for each of them. */
  readonly slots: number;
  /** Rows of the prediction: one for each image, two with guidance. */
  readonly rows: number;
  /** Rows predicted once more with `skipLayers` left out. */
  readonly skipRows: number;
  readonly skipLayers: readonly number[];
}

/** What one prediction reads, row by row. */
export interface StepInputs {
  /** f32 [rows, C, h, w] */
  readonly latents: Tensor;
  /** f32 [rows] */
  readonly timesteps: Tensor;
  /** [rows, T, contextWidth] */
  readonly context: Tensor;
  /** [rows, pooledWidth] */
  readonly pooled: Tensor;
}

/** What surrounds a step's prediction. */
export interface StepWork {
  /** Fills the step's tensors by copies. */
  readonly before: (encoder: GPUCommandEncoder) => void;
  /** Takes the images out. */
  readonly after: (encoder: GPUCommandEncoder) => void;
  /** Writes what comes from the host, when the commands are about to run. */
  readonly write: () => void;
}

/** A step's commands, to be submitted once. */
export interface RecordedStep {
  submit(): Promise<void>;
}

/**
 * A recorded step. Its tensors may share memory with other steps': they hold only from `write` to the
 * end of `after`.
 */
export interface Step {
  readonly inputs: StepInputs;
  /** The rows that are predicted with layers left out. */
  readonly skipInputs?: StepInputs | undefined;
  /** f32 [images, C, h, w], updated in place. */
  readonly images: Tensor;
  /** [images, 7] records of `guidedStep`; rows of `skipInputs` count on from `inputs`'. */
  readonly records: Tensor;
  /** What the last `combined` images have beside, see `guidedCombination`. */
  readonly combined?: {
    /** f32 [combined, 1 + slots, 8] */
    readonly sums: Tensor;
    /** f32 [combined, C, h, w] */
    readonly noise: Tensor;
    /** f32 [combined * slots, C, h, w], updated in place. */
    readonly kept?: Tensor | undefined;
  } | undefined;
  /**
   * Records `before`, the prediction with the scheduler's step, and `after`, as far as a backend can
   * without running them. They may be called once more at `submit`.
   */
  record(work: StepWork): Promise<RecordedStep>;
  dispose(): void;
}

export interface TransformerComponent {
  readonly config: TransformerConfig;
  readonly contextWidth: number;
  readonly pooledWidth: number;
  /** Projects a prompt once for all its steps. */
  prepareText(promptEmbeds: Tensor, pooled: Tensor, out: PreparedText): Promise<void>;
  step(shape: StepShape): Promise<Step>;
  dispose(): void;
}

export interface DecoderComponent {
  readonly config: VaeConfig;
  /** Largest latent area (rows * columns) that one decode may take. */
  readonly maxArea: number;
  /** Bytes of activations for each latent row and column, where known. */
  readonly bytesPerLatent?: number | undefined;
  /**
   * @param latents f32 [1, C, h, w], as the pipeline holds them
   * @param out f32 [1, H, W, 3] in about [-1, 1]
   */
  decode(latents: Tensor, out: Tensor): Promise<void>;
  dispose(): void;
}

export interface EncoderComponent {
  readonly config: VaeConfig;
  /**
   * @param image f32 [1, 3, H, W] in [-1, 1]
   * @param out moments f32 [1, 2 * C, h, w]: means, then log variances
   */
  encode(image: Tensor, out: Tensor): Promise<void>;
  dispose(): void;
}

/** The networks of one pipeline. */
export interface Components {
  readonly clipL: ClipComponent;
  readonly clipG: ClipComponent;
  readonly t5: T5Component | undefined;
  readonly transformer: TransformerComponent;
  readonly decoder: DecoderComponent;
  /** Only where it was asked for: generating from text does not need it. */
  readonly encoder: EncoderComponent | undefined;
}
