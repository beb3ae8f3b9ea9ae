/** Made-up tensors, the device that they are loaded onto, and what then lies there. */
import type { Tensor } from "../../src/gpu/tensor.ts";
import type { WeightTexture } from "../../src/gpu/texture.ts";
import type { ElementType } from "../../src/weights/element_types.ts";
import type { WeightGpu } from "../../src/weights/parts.ts";
import { gpu } from "../gpu.ts";
import { bytesOf, type MadeTensor } from "./make.ts";

/** Values that every type here holds exactly: eighths from -8 to 8. */
export const value = (i: number) => ((i * 37) % 129 - 64) / 8;

export function stored(name: string, dtype: ElementType, shape: number[], first = 0): MadeTensor {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const values = Float64Array.from({ length: count }, (_, i) => value(first + i));
  const bytes = dtype === "F64"
    ? bytesOf(values)
    : dtype === "F32"
    ? bytesOf(Float32Array.from(values))
    : dtype === "F16"
    ? bytesOf(Float16Array.from(values))
    : bytesOf(
      Uint16Array.from(
        new Uint32Array(Float32Array.from(values).buffer),
        (bits) => bits >>> 16,
      ),
    );
  return { name, dtype, shape, bytes };
}

export async function values(tensor: Tensor): Promise<number[]> {
  const bytes = await gpu.readBytes(tensor);
  return [...(tensor.dtype === "f16" ? new Float16Array(bytes) : new Float32Array(bytes))];
}

/** The device, with everything in buffers. */
export const buffers = limited(gpu.limits.maxStorageBufferBindingSize);

/** Halves of texels, as they lie in a texture: for each texel row, 8 of every column. */
export async function texels(
  { texture }: WeightTexture,
  columns: number,
  lines: number,
): Promise<Float16Array> {
  // Copies want rows of 256 bytes.
  const bytesPerRow = Math.ceil(16 * columns / 256) * 256;
  const staging = gpu.createTensor([bytesPerRow * lines / 4], "texels", "other");
  await gpu.submit("texels", (encoder) =>
    encoder.copyTextureToBuffer(
      { texture },
      { buffer: staging.storage.buffer, bytesPerRow },
      [columns, lines],
    ));
  const padded = new Float16Array(await gpu.readBytes(staging));
  gpu.destroyTensor(staging);
  const width = 8 * columns;
  const dense = new Float16Array(width * lines);
  for (let y = 0; y < lines; y++) {
    dense.set(padded.subarray(y * bytesPerRow / 2, y * bytesPerRow / 2 + width), y * width);
  }
  return dense;
}

/** The device under smaller limits, with a count of what is created. */
export function limited(maxStorageBufferBindingSize: number): WeightGpu & { created: number } {
  return {
    created: 0,
    limits: { ...{ maxBufferSize: 2 ** 30 }, maxStorageBufferBindingSize } as GPUSupportedLimits,
    prefersTextures: false,
    queue: gpu.queue,
    createBuffer(request) {
      this.created++;
      return gpu.createBuffer(request);
    },
    destroyBuffer: (buffer) => gpu.destroyBuffer(buffer),
    createTexture: (request) => gpu.createTexture(request),
    destroyTexture: (texture) => gpu.destroyTexture(texture),
    scope: (label, work) => gpu.scope(label, work),
    idle: () => gpu.idle(),
  };
}
