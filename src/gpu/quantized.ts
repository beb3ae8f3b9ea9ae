/**
 * Weights as small integers in GPU memory, in ggml's formats: every 32 neighbours of a row share a
 * scale d. A row of K values is K * bits / 32 words of integers, in the order of k from the lowest
 * bits on, and apart from them ceil(K / 64) words of scales, each of two f16: block 2 i is the low
 * half of word i.
 *
 * In buffers rows follow each other. In textures, whose texels are four words, line e holds eight k
 * of all rows, one or two words of each, and of the scales one word of each: neighbouring rows share
 * a texel.
 */
import type { Tensor } from "./tensor.ts";
import type { WeightTexture } from "./texture.ts";

/** "q8_0": q * d with q in -127 .. 127. "q4_0": q * d with q in -8 .. 7. */
export type QuantType = "q8_0" | "q4_0";

/** Bits of an integer, which lies there in two's complement. */
export const quantBits: Readonly<Record<QuantType, number>> = { q8_0: 8, q4_0: 4 };

/** Neighbours along K that share a scale. */
export const blockValues = 32;

/** Types of weights that products take. */
export type WeightDType = "f32" | "f16" | QuantType;

export function isQuantType(type: string): type is QuantType {
  return type in quantBits;
}

/** u32 words of a row's integers; `k` is a multiple of 32. */
export function quantWords(type: QuantType, k: number): number {
  return k * quantBits[type] / 32;
}

/** u32 words of a row's scales: two blocks a word. */
export function scaleWords(k: number): number {
  return Math.ceil(k / (2 * blockValues));
}

/** Rows that share a texel; the last ones are followed by zeros. */
export const texelRows = 4;

/** What a weight is beside its integers. */
export interface Quantized {
  readonly type: QuantType;
  /** u32 [rows, ceil(K / 64)], or in a texture where the integers are. */
  readonly scales: Tensor | WeightTexture;
}
