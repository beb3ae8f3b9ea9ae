/** Quantised rows of a parameter: integers and scales, each in a buffer or a texture of its own. */
import {
  quantBits,
  type Quantized,
  type QuantType,
  quantWords,
  scaleWords,
  texelRows,
} from "../gpu/quantized.ts";
import type { BufferHolder, Tensor } from "../gpu/tensor.ts";
import { inTexture, textureExtent, type WeightTexture } from "../gpu/texture.ts";
import type { ParameterPart, WeightGpu } from "./parts.ts";
import type { QuantizedRows } from "./quantize.ts";

export interface QuantizedPartRequest {
  readonly label: string;
  readonly rows: number;
  /** Values of a row. */
  readonly k: number;
  readonly type: QuantType;
  readonly isTextured: boolean;
}

/** Bytes of one row, without what textures are padded with. */
export function quantizedRowBytes(type: QuantType, k: number): number {
  return 4 * (quantWords(type, k) + scaleWords(k));
}

export function allocateQuantized(
  gpu: WeightGpu,
  request: QuantizedPartRequest,
): Allocated & { readonly quantized: Quantized } {
  const { label, rows, k, type, isTextured } = request;
  const allocate = isTextured ? inTextures : inBuffers;
  const quants = allocate(gpu, label, { rows, words: quantWords(type, k), run: runOf(type) });
  const scales = allocate(gpu, `${label}/scales`, { rows, words: scaleWords(k), run: 1 });
  return { ...quants, quantized: { type, scales: scales.texture ?? scales.tensor } };
}

interface Extent {
  readonly rows: number;
  /** Words of a row. */
  readonly words: number;
  /** Of these how many lie together in a texture. */
  readonly run: number;
}

/** Words of eight integers. */
function runOf(type: QuantType): number {
  return quantBits[type] / 4;
}

interface Allocated {
  readonly tensor: Tensor;
  readonly texture?: WeightTexture;
}

function inBuffers(gpu: WeightGpu, label: string, { rows, words }: Extent): Allocated {
  const byteLength = 4 * rows * words;
  const buffer = gpu.createBuffer({ label, size: byteLength, owner: "weights" });
  return { tensor: tensorOf(label, [rows, words], { buffer }) };
}

function inTextures(gpu: WeightGpu, label: string, { rows, words, run }: Extent): Allocated {
  const { maxTextureDimension2D: largest } = gpu.limits;
  const texture = gpu.createTexture({
    label,
    width: textureExtent(Math.ceil(rows / texelRows) * run, largest),
    height: textureExtent(words / run, largest),
    format: "rgba32uint",
    owner: "weights",
  });
  const view = texture.createView();
  return { tensor: tensorOf(label, [rows, words], inTexture(label)), texture: { texture, view } };
}

function tensorOf(label: string, shape: [number, number], storage: BufferHolder): Tensor {
  const byteLength = 4 * shape[0] * shape[1];
  return { label, shape, dtype: "u32", storage, byteOffset: 0, byteLength };
}

export interface RowRange {
  /** Rows of what is written, `to` excluded. */
  readonly from: number;
  readonly to: number;
  /** The part's row that the first becomes; a multiple of 4 in textures. */
  readonly at: number;
}

/** Writes rows into a part; in a texture whole texels, so that what follows must be unwritten. */
export function writeQuantized(
  gpu: WeightGpu,
  { tensor, texture, quantized }: Pick<ParameterPart, "tensor" | "texture" | "quantized">,
  packed: QuantizedRows,
  { from, to, at }: RowRange,
): void {
  if (!quantized) throw new TypeError(`${tensor.label} is not allocated as blocks`);
  const { type, scales } = quantized;
  const words = tensor.shape[1]!;
  const rows = packed.quants.length / words;
  const arrays = [
    { values: packed.quants, words, run: runOf(type), into: texture ?? tensor },
    { values: packed.scales, words: packed.scales.length / rows, run: 1, into: scales },
  ];
  for (const { values, words, run, into } of arrays) {
    const part = values.subarray(from * words, to * words);
    if ("texture" in into) {
      const width = Math.ceil((to - from) / texelRows) * run;
      gpu.queue.writeTexture(
        { texture: into.texture, origin: [at / texelRows * run, 0] },
        textureLines(part, { rows: to - from, words, run }),
        { bytesPerRow: 16 * width },
        [width, words / run],
      );
    } else {
      gpu.queue.writeBuffer(into.storage.buffer, 4 * at * words, part);
    }
  }
}

/** Rows transposed in runs: all rows' first runs, all their second ... */
function textureLines(source: Uint32Array, { rows, words, run }: Extent): Uint32Array<ArrayBuffer> {
  const lineWords = Math.ceil(rows / texelRows) * texelRows * run;
  const lines = words / run;
  const target = new Uint32Array(lineWords * lines);
  let from = 0;
  for (let row = 0; row < rows; row++) {
    for (let line = 0; line < lines; line++) {
      const to = line * lineWords + row * run;
      for (let word = 0; word < run; word++) target[to + word] = source[from++]!;
    }
  }
  return target;
}
