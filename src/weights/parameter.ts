/** One weight that a model declared: a handle before loading, GPU tensors after it. */
import type { Gpu } from "../gpu/device.ts";
import { bytesPerElement, type Tensor } from "../gpu/tensor.ts";
import type { RowLayout } from "./layout.ts";

/** What loading needs of the device. */
export type WeightGpu = Pick<
  Gpu,
  "limits" | "queue" | "createBuffer" | "destroyBuffer" | "scope" | "idle"
>;

/** Rows `rowStart` to `rowStart + rows` of a parameter. */
export interface ParameterPart {
  readonly tensor: Tensor;
  readonly rowStart: number;
  readonly rows: number;
}

export interface Parameter {
  /** Names in the checkpoint, in the order of their rows. */
  readonly keys: readonly string[];
  /** Shape of the whole, also where it is split. */
  readonly shape: readonly number[];
  /** Usually one; several where the device cannot bind the whole. Empty before loading. */
  readonly parts: readonly ParameterPart[];
  /** The whole. @throws {Error} before loading, after disposal, or if there are several parts */
  readonly tensor: Tensor;
}

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
    return first.tensor;
  }

  get totalRows(): number {
    return this.layout.rows.reduce((total, rows) => total + rows, 0);
  }

  gpuBytes(dtype: "f32" | "f16"): number {
    return this.totalRows * this.layout.targetRow * bytesPerElement[dtype];
  }

  /** Rows of each part under the device's limits, or undefined if it cannot hold the parameter. */
  partRows(dtype: "f32" | "f16", limits: GPUSupportedLimits): number | undefined {
    const limit = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
    // Buffers come in multiples of 16 bytes.
    if (Math.ceil(this.gpuBytes(dtype) / 16) * 16 <= limit) return this.totalRows;
    const rowBytes = this.layout.targetRow * bytesPerElement[dtype];
    const rows = Math.floor(limit / rowBytes / rowGranule) * rowGranule;
    return rows === 0 || this.layout.isVector ? undefined : rows;
  }

  /** Allocates its tensors, `partRows` rows each. New buffers hold zeros. */
  allocate(gpu: WeightGpu, dtype: "f32" | "f16", partRows: number): void {
    const parts: ParameterPart[] = [];
    this.#parts = parts;
    const isWhole = partRows >= this.totalRows;
    for (let rowStart = 0; parts.length === 0 || rowStart < this.totalRows; rowStart += partRows) {
      const rows = Math.min(partRows, this.totalRows - rowStart);
      const label = isWhole ? this.label : `${this.label}[${rowStart}:${rowStart + rows}]`;
      const bytes = rows * this.layout.targetRow * bytesPerElement[dtype];
      const byteLength = Math.max(4, Math.ceil(bytes / 4) * 4);
      const buffer = gpu.createBuffer({ label, size: byteLength, owner: "weights" });
      parts.push({
        tensor: {
          label,
          // A split table's leading axes have become rows.
          shape: isWhole ? this.shape : [rows, ...this.rowShape],
          dtype,
          storage: { buffer },
          byteOffset: 0,
          byteLength,
        },
        rowStart,
        rows,
      });
    }
  }

  private get rowShape(): readonly number[] {
    return this.layout.taps > 1 ? this.shape.slice(1) : this.shape.slice(-1);
  }

  /** Writes packed rows from target row `row` on, wherever the parts begin. */
  write(gpu: WeightGpu, row: number, rows: number, values: Float32Array | Uint16Array): void {
    const { targetRow } = this.layout;
    for (const { tensor, rowStart, rows: partRows } of this.#parts) {
      const from = Math.max(row, rowStart);
      const to = Math.min(row + rows, rowStart + partRows);
      if (from >= to) continue;
      const end = to === row + rows ? values.length : (to - row) * targetRow;
      gpu.queue.writeBuffer(
        tensor.storage.buffer,
        (from - rowStart) * targetRow * values.BYTES_PER_ELEMENT,
        values.subarray((from - row) * targetRow, end) as Float32Array<ArrayBuffer>,
      );
    }
  }

  free(gpu: WeightGpu): void {
    for (const { tensor } of this.#parts) gpu.destroyBuffer(tensor.storage.buffer);
    this.#parts = [];
  }
}
