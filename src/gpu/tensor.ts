/** Element types as they lie in GPU memory: "f16" is packed two to a u32, low half first. */
export type DType = "f32" | "f16" | "u32";

export const bytesPerElement: Record<DType, number> = { f32: 4, f16: 2, u32: 4 };

/** Something that holds a buffer, perhaps a different one later (an arena slot that grew). */
export interface BufferHolder {
  readonly buffer: GPUBuffer;
}

/** A row-major array in GPU memory. A handle: who allocated the storage also frees it. */
export interface Tensor {
  readonly label: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly storage: BufferHolder;
  readonly byteOffset: number;
  readonly byteLength: number;
}

export function elements(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** The same storage under another shape of as many elements. */
export function reshape(tensor: Tensor, shape: readonly number[]): Tensor {
  if (elements(shape) !== elements(tensor.shape)) {
    throw new TypeError(
      `Cannot view ${tensor.label} [${tensor.shape}] as [${shape}]: the element counts differ`,
    );
  }
  return { ...tensor, shape };
}

/**
 * Values from one row of a weight to the next in GPU memory: padded with zeros to a multiple of 8, so
 * that rows begin at 16 bytes, whatever the type.
 */
export function rowStride(columns: number): number {
  return Math.ceil(columns / 8) * 8;
}

/** `count` entries along the first axis from `first` on: a view. */
export function rowsOf(tensor: Tensor, first: number, count = 1): Tensor {
  const bytes = elements(tensor.shape.slice(1)) * bytesPerElement[tensor.dtype];
  return {
    ...tensor,
    shape: [count, ...tensor.shape.slice(1)],
    byteOffset: tensor.byteOffset + first * bytes,
    byteLength: count * bytes,
  };
}

/**
 * One vector for each sample inside a (batch, stride) tensor, at `offset`: how adaLN's shift, scale
 * and gate are handed to ops without being copied apart.
 */
export interface PerSample {
  readonly tensor: Tensor;
  readonly offset: number;
  readonly stride: number;
}
