import type { BufferHolder } from "./tensor.ts";

/**
 * A 2-D texture of four f32 values a texel into which an op copies rows of tensors, where reading
 * texels is cheaper than reading buffers. Its contents last until the next op that asks for one.
 */
export interface ScratchTexture {
  readonly width: number;
  readonly height: number;
  /** Another one after the texture grew. */
  readonly texture: GPUTexture;
  readonly view: GPUTextureView;
}

/**
 * A weight in a texture of four u32 a texel, so that neighbouring outputs of a product lie side by
 * side. f16: texel (row, e) holds the values 8 e to 8 e + 7 of that row. Quantised: `Quantized`.
 */
export interface WeightTexture {
  readonly texture: GPUTexture;
  readonly view: GPUTextureView;
}

/** Storage of a tensor that has no buffer: whoever wants one hears why. */
export function inTexture(label: string): BufferHolder {
  return {
    get buffer(): GPUBuffer {
      throw new TypeError(`${label} lies in a texture, not in a buffer: declare it as a lookup`);
    },
  };
}

/**
 * The extent of a texture that has to hold `extent` texels: no power of two, if it may be larger.
 * llvmpipe compiles every kernel anew for each texture whose extents differ in being one.
 */
export function textureExtent(extent: number, largest: number): number {
  const up = Math.max(3, (extent & (extent - 1)) === 0 ? extent + 1 : extent);
  return up <= largest ? up : extent;
}

/** A rectangle of a row-major f32 buffer, and where it goes in a texture; x and y in texels. */
export interface TextureCopy {
  /** Bytes from the tensor's start; a multiple of 16. */
  readonly byteOffset: number;
  /** A multiple of 256, as WebGPU demands. */
  readonly bytesPerRow: number;
  readonly width: number;
  readonly height: number;
  readonly x: number;
  readonly y: number;
}
