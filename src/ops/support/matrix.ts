import type { Quantized, WeightDType } from "../../gpu/quantized.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { WeightTexture } from "../../gpu/texture.ts";

/** Some consecutive rows of a matrix, in a buffer of their own. */
export interface MatrixPart {
  /** "f16" or "f32", each row padded with zeros to `rowStride` values; or words of integers. */
  readonly tensor: Tensor;
  /** Where the loader put the values, if not in the tensor's buffer. */
  readonly texture?: WeightTexture;
  /** The integers' type and scales; K is a multiple of 32 then. */
  readonly quantized?: Quantized;
  readonly rowStart: number;
  readonly rows: number;
}

/**
 * A matrix [N, K] that is multiplied with: N outputs, K inputs, row-major. It has several parts where
 * it is larger than what the device binds; all but the last have a multiple of 64 rows.
 */
export interface Matrix {
  readonly shape: readonly number[];
  readonly parts: readonly MatrixPart[];
  /** Values from one row to the next; default `rowStride(K)`. */
  readonly rowStride?: number;
}

/** Type of the values that a part stands for. */
export function weightDType({ tensor, quantized }: MatrixPart): WeightDType {
  return quantized?.type ?? (tensor.dtype === "f16" ? "f16" : "f32");
}

/** An activation [N, K] (or [1, N, K]) in the place of a weight. */
export function matrixOf(tensor: Tensor): Matrix {
  const shape = tensor.shape.slice(-2);
  const [rows, columns] = shape;
  if (rows === undefined || columns === undefined || tensor.shape.slice(0, -2).some((n) => n > 1)) {
    throw new TypeError(`Cannot multiply with ${tensor.label} [${tensor.shape}]: not a matrix`);
  }
  return { shape, parts: [{ tensor, rowStart: 0, rows }], rowStride: columns };
}
