/** One weight that a model declared: a handle before loading, GPU tensors after it. */
import { blockValues, isQuantType, texelRows, type WeightDType } from "../gpu/quantized.ts";
import { bytesPerElement, type Tensor } from "../gpu/tensor.ts";
import { inTexture, textureExtent, type WeightTexture } from "../gpu/texture.ts";
import type { RowLayout } from "./row_layout.ts";
import type { QuantizedRows } from "./quantize.ts";
import type { ParameterPart, WeightGpu } from "./parts.ts";
import { allocateQuantized, quantizedRowBytes, writeQuantized } from "./quantized_part.ts";

export interface Parameter {
  /** Names in the checkpoint, in the order of their rows. */
  readonly keys: readonly string[];
  /** Shape of the whole, also where it is split. */
  readonly shape: readonly number[];
  /** Usually one; several where the device cannot bind the whole. Empty before loading. */
  readonly parts: readonly ParameterPart[];
  /** The whole. @throws {Error} if not loaded, quantised, or in several parts */
  readonly tensor: Tensor;
}

const halvesPerTexel = 8;

/** Lanes lie over outputs where weights are texels: convolutions with fewer would leave most idle. */
const fewestOutputs = 16;

/**
 * Matrices with fewer rows or columns are not quantised. In Stable Diffusion 3 these are the
 * transformer's first and last layer, 64 values wide: less than a thousandth of its weights, through
 * which everything passes.
 */
const narrowest = 128;

/** Split matrices are cut at multiples of this many rows: whole tiles of the kernels. */
const rowGranule = 64;

export class WeightParameter implements Parameter {
  readonly label: string;
  #parts: readonly ParameterPart[] = [];

  constructor(
    owner: string,
    readonly keys: readonly string[],
    readonly layout: RowLayout,
  ) {
    this.label = `${owner}/${keys.join("+")}`;
  }

  get shape(): readonly number[] {
    return this.layout.shape;
  }

  get parts(): readonly ParameterPart[] {
    return this.#parts;
  }

  get tensor(): Tensor {
    const [first, second] = this.#parts;
    if (!first) throw new Error(`${this.label} is not loaded`);
    if (second) {
      throw new Error(
        `${this.label} is split into ${this.#parts.length} parts, since the device binds at most ` +
          `${first.tensor.byteLength} bytes of it at once: use its parts`,
      );
    }
    if (first.quantized) {
      throw new Error(`${this.label} is ${first.quantized.type} blocks: use its parts`);
    }
    return first.tensor;
  }

  get totalRows(): number {
    return this.layout.rows.reduce((total, rows) => total + rows, 0);
  }

  /** Whether it may be blocks of integers: a matrix that is only multiplied with, and not narrow. */
  get isQuantizable(): boolean {
    const { isFactor, taps, sourceRow: k, rows } = this.layout;
    return isFactor && taps === 1 && k % blockValues === 0 &&
      rows.every((count) => count % texelRows === 0) &&
      Math.min(k, this.totalRows) >= narrowest;
  }

  gpuBytes(dtype: WeightDType): number {
    return this.totalRows * this.#rowBytes(dtype);
  }

  #rowBytes(dtype: WeightDType): number {
    const { targetRow } = this.layout;
    return isQuantType(dtype)
      ? quantizedRowBytes(dtype, targetRow)
      : targetRow * bytesPerElement[dtype];
  }

  /** Whether it lies in textures: narrow values to multiply with, where the device prefers that. */
  isTextured(dtype: WeightDType, { prefersTextures, limits }: WeightGpu): boolean {
    const { isFactor, targetRow, taps } = this.layout;
    const isWide = taps === 1 || this.totalRows >= fewestOutputs;
    return isFactor && isWide && dtype !== "f32" && prefersTextures &&
      targetRow / halvesPerTexel <= limits.maxTextureDimension2D;
  }

  /** Rows of each part under the device's limits, or undefined if it cannot hold the parameter. */
  partRows(dtype: WeightDType, gpu: WeightGpu): number | undefined {
    const { limits } = gpu;
    if (this.isTextured(dtype, gpu)) {
      const most = limits.maxTextureDimension2D;
      return this.totalRows <= most ? this.totalRows : Math.floor(most / rowGranule) * rowGranule;
    }
    const limit = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
    // Buffers come in multiples of 16 bytes.
    if (Math.ceil(this.gpuBytes(dtype) / 16) * 16 <= limit) return this.totalRows;
    const rowBytes = this.#rowBytes(dtype);
    const rows = Math.floor(limit / rowBytes / rowGranule) * rowGranule;
    return rows === 0 || this.layout.isVector ? undefined : rows;
  }

  /** Allocates its tensors, `partRows` rows each. New buffers hold zeros. */
  allocate(gpu: WeightGpu, dtype: WeightDType, partRows: number): void {
    const parts: ParameterPart[] = [];
    this.#parts = parts;
    const isWhole = partRows >= this.totalRows;
    for (let rowStart = 0; parts.length === 0 || rowStart < this.totalRows; rowStart += partRows) {
      const rows = Math.min(partRows, this.totalRows - rowStart);
      const label = isWhole ? this.label : `${this.label}[${rowStart}:${rowStart + rows}]`;
      const isTextured = this.isTextured(dtype, gpu);
      if (isQuantType(dtype)) {
        const k = this.layout.targetRow;
        const part = allocateQuantized(gpu, { label, rows, k, type: dtype, isTextured });
        parts.push({ ...part, rowStart, rows });
        continue;
      }
      const bytes = rows * this.layout.targetRow * bytesPerElement[dtype];
      const byteLength = Math.max(4, Math.ceil(bytes / 4) * 4);
      const texture = isTextured ? this.#texture(gpu, label, rows) : undefined;
      parts.push({
        ...texture && { texture },
        tensor: {
          label,
          // A split table's leading axes have become rows.
          shape: isWhole ? this.shape : [rows, ...this.#rowShape],
          dtype,
          storage: texture
            ? inTexture(label)
            : { buffer: gpu.createBuffer({ label, size: byteLength, owner: "weights" }) },
          byteOffset: 0,
          byteLength,
        },
        rowStart,
        rows,
      });
    }
  }

  #texture(gpu: WeightGpu, label: string, rows: number): WeightTexture {
    const { maxTextureDimension2D: largest } = gpu.limits;
    const texture = gpu.createTexture({
      label,
      width: textureExtent(rows, largest),
      height: textureExtent(this.layout.targetRow / halvesPerTexel, largest),
      format: "rgba32uint",
      owner: "weights",
    });
    return { texture, view: texture.createView() };
  }

  get #rowShape(): readonly number[] {
    return this.layout.taps > 1 ? this.shape.slice(1) : this.shape.slice(-1);
  }

  /** Writes packed rows from target row `row` on, wherever the parts begin. */
  write(
    gpu: WeightGpu,
    row: number,
    rows: number,
    values: Float32Array | Uint16Array | QuantizedRows,
  ): void {
    const { targetRow } = this.layout;
    for (const part of this.#parts) {
      const { tensor, texture, rowStart, rows: partRows } = part;
      const from = Math.max(row, rowStart);
      const to = Math.min(row + rows, rowStart + partRows);
      if (from >= to) continue;
      if ("quants" in values) {
        const range = { from: from - row, to: to - row, at: from - rowStart };
        writeQuantized(gpu, part, values, range);
        continue;
      }
      if (texture) {
        const halves = (values as Uint16Array).subarray(
          (from - row) * targetRow,
          (to - row) * targetRow,
        );
        gpu.queue.writeTexture(
          { texture: texture.texture, origin: [from - rowStart, 0] },
          texelColumns(halves, to - from, targetRow),
          { bytesPerRow: 16 * (to - from) },
          [to - from, targetRow / halvesPerTexel],
        );
        continue;
      }
      const end = to === row + rows ? values.length : (to - row) * targetRow;
      gpu.queue.writeBuffer(
        tensor.storage.buffer,
        (from - rowStart) * targetRow * values.BYTES_PER_ELEMENT,
        values.subarray((from - row) * targetRow, end) as Float32Array<ArrayBuffer>,
      );
    }
  }

  free(gpu: WeightGpu): void {
    for (const { tensor, texture, quantized } of this.#parts) {
      for (const array of [texture ?? tensor, ...quantized ? [quantized.scales] : []]) {
        if ("texture" in array) gpu.destroyTexture(array.texture);
        else gpu.destroyBuffer(array.storage.buffer);
      }
    }
    this.#parts = [];
  }
}

/** Rows of halves as texels of eight, transposed: all rows' first texels, all their second ... */
export function texelColumns(
  values: Uint16Array,
  rows: number,
  rowLength: number,
): Uint32Array<ArrayBuffer> {
  const halves = values.byteOffset % 4 ? values.slice() : values;
  const source = new Uint32Array(halves.buffer, halves.byteOffset, rows * rowLength / 2);
  const target = new Uint32Array(source.length);
  const texels = rowLength / halvesPerTexel;
  for (let row = 0; row < rows; row++) {
    let from = 4 * row * texels;
    for (let texel = 0; texel < texels; texel++, from += 4) {
      const to = 4 * (texel * rows + row);
      target[to] = source[from]!;
      target[to + 1] = source[from + 1]!;
      target[to + 2] = source[from + 2]!;
      target[to + 3] = source[from + 3]!;
    }
  }
  return target;
}
