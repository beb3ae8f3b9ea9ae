/** Quantised rows of a parameter: integers and scales, each in a buffer or a texture of its own. */
import { type Quantized, type QuantType, quantWords, scaleWords } from "../gpu/quantized.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { inTexture, textureExtent, type WeightTexture } from "../gpu/texture.ts";
import type { WeightGpu } from "./parameter.ts";
import type { QuantizedRows } from "./quantize.ts";

/** Integers of a row in a texture are texels of four words. */
const quantTexel = 4;

export interface QuantizedPart {
  readonly tensor: Tensor;
  readonly texture?: WeightTexture;
  readonly quantized: Quantized;
}

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

export function allocateQuantized(gpu: WeightGpu, request: QuantizedPartRequest): QuantizedPart {
  const { label, rows, k, type, isTextured } = request;
  const quants = array(
    gpu,
    { label, rows, words: quantWords(type, k), texel: quantTexel },
    isTextured,
  );
  const scales = array(
    gpu,
    { label: `${label}/scales`, rows, words: scaleWords(k), texel: 1 },
    isTextured,
  );
  return { ...quants, quantized: { type, scales: scales.texture ?? scales.tensor } };
}

interface ArrayRequest {
  readonly label: string;
  readonly rows: number;
  /** Of a row. */
  readonly words: number;
  readonly texel: 1 | 4;
}

function array(gpu: WeightGpu, { label, rows, words, texel }: ArrayRequest, isTextured: boolean) {
  const tensor = {
    label,
    shape: [rows, words],
    dtype: "u32",
    byteOffset: 0,
    byteLength: 4 * rows * words,
  } as const;
  if (!isTextured) {
    const buffer = gpu.createBuffer({ label, size: tensor.byteLength, owner: "weights" });
    return { tensor: { ...tensor, storage: { buffer } } };
  }
  const { maxTextureDimension2D: largest } = gpu.limits;
  const texture = gpu.createTexture({
    label,
    width: textureExtent(rows, largest),
    height: textureExtent(words / texel, largest),
    format: texel === 1 ? "r32uint" : "rgba32uint",
    owner: "weights",
  });
  const view = texture.createView();
  return { tensor: { ...tensor, storage: inTexture(label) }, texture: { texture, view } };
}

/** Writes rows `from` to `to` of `packed` into the part, from its row `at` on. */
export function writeQuantized(
  gpu: WeightGpu,
  { tensor, texture, quantized: { scales } }: QuantizedPart,
  packed: QuantizedRows,
  { from, to, at }: { readonly from: number; readonly to: number; readonly at: number },
): void {
  const arrays = [
    { values: packed.quants, words: tensor.shape[1]!, into: texture ?? tensor, texel: quantTexel },
    {
      values: packed.scales,
      words: packed.scales.length * tensor.shape[1]! / packed.quants.length,
      into: scales,
      texel: 1,
    },
  ];
  for (const { values, words, into, texel } of arrays) {
    const rows = values.subarray(from * words, to * words);
    if ("texture" in into) {
      gpu.queue.writeTexture(
        { texture: into.texture, origin: [at, 0] },
        columns(rows, to - from, texel),
        { bytesPerRow: 4 * texel * (to - from) },
        [to - from, words / texel],
      );
    } else {
      gpu.queue.writeBuffer(into.storage.buffer, 4 * at * words, rows);
    }
  }
}

export function freeQuantized(gpu: WeightGpu, part: QuantizedPart): void {
  for (const array of [part.texture ?? part.tensor, part.quantized.scales]) {
    if ("texture" in array) gpu.destroyTexture(array.texture);
    else gpu.destroyBuffer(array.storage.buffer);
  }
}

/** Rows of texels transposed: all rows' first texels, all their second ... */
function columns(
  words: Uint32Array<ArrayBuffer>,
  rows: number,
  texel: number,
): Uint32Array<ArrayBuffer> {
  const target = new Uint32Array(words.length);
  const texels = words.length / rows / texel;
  for (let row = 0, from = 0; row < rows; row++) {
    for (let e = 0; e < texels; e++) {
      const to = texel * (e * rows + row);
      for (let word = 0; word < texel; word++) target[to + word] = words[from++]!;
    }
  }
  return target;
}
