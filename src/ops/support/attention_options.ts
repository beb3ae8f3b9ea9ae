import type { Tensor } from "../../gpu/tensor.ts";

/** The kernels: any shape; keys in a texture; tiles in workgroup memory. */
export const attentionVariants = ["rows", "texture", "tile"] as const;
export type AttentionVariant = typeof attentionVariants[number];

export interface AttentionOptions {
  /**
   * One or two [B, S_i, 3*H*D] f32: q | k | v along the last axis, each (H, D). Every query sees the
   * keys of both, stream 0's first.
   */
  readonly streams: readonly Tensor[];
  readonly heads: number;
  readonly headDim: number;
  /** Factor of the scores: 1 / sqrt(D), or 1 for T5. */
  readonly scale: number;
  /** Query i sees the keys j <= i; one stream only. */
  readonly causal?: boolean;
  /** [H, 2T-1] f32, added to score (i, j) at j - i + T - 1; one stream only. */
  readonly relativeBias?: Tensor | undefined;
  readonly label: string;
  /** Which family of kernels; default: by the device's tuner. */
  readonly variant?: AttentionVariant | undefined;
}
