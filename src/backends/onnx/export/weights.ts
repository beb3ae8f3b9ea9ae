/**
 * Tensors of a checkpoint on their way into an ONNX file: each is described at once and its bytes
 * come later, piece by piece, so that host memory holds one tensor at most.
 */
import type { DataType } from "../proto.ts";
import { ExportError } from "../errors.ts";
import { DATA_TYPE_BYTES } from "../proto.ts";

/** A tensor as a checkpoint lists it. */
export interface StoredTensor {
  /** safetensors' name of the element type: "F16", "BF16", "F32", ... */
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** What the exporter needs of a checkpoint; `src/weights` opens one. */
export interface TensorReader<Entry extends StoredTensor = StoredTensor> {
  readonly tensors: ReadonlyMap<string, Entry>;
  /** Bytes [start, end) of the tensor, counted from its first byte. */
  read(entry: Entry, start?: number, end?: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** A constant of a graph, with its bytes still to come. */
export interface Initializer {
  readonly name: string;
  readonly dtype: DataType;
  readonly dims: readonly number[];
  readonly byteLength: number;
  /** The bytes in order, little-endian, in pieces. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** Elements read in one piece: 8 MiB of float32. */
const PIECE = 2 ** 21;
const STORED_BYTES: Readonly<Record<string, number>> = { F16: 2, BF16: 2, F32: 4 };
const F16_MAX = 65504;

export const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** An initializer whose bytes are at hand. */
export function inlineInitializer(
  name: string,
  dtype: DataType,
  dims: readonly number[],
  bytes: Uint8Array,
): Initializer {
  return {
    name,
    dtype,
    dims,
    byteLength: bytes.byteLength,
    async *chunks() {
      yield bytes;
    },
  };
}

/**
 * The narrowest type that keeps a stored tensor exact enough: float16 stays, bfloat16 becomes
 * float16 (its 8 significant bits fit; a value beyond float16's range is refused while streaming).
 */
export function narrowType(stored: StoredTensor, key: string): "f16" | "f32" {
  if (stored.dtype === "F16" || stored.dtype === "BF16") return "f16";
  if (stored.dtype === "F32") return "f32";
  throw new ExportError(
    `${key}: element type ${stored.dtype} cannot be exported; F32, F16 and BF16 can`,
  );
}

/** Converts stored bytes to `dtype`. Input and output are little-endian, as both formats are. */
export function convert(
  bytes: Uint8Array<ArrayBuffer>,
  stored: string,
  dtype: "f16" | "f32",
  key: string,
): Uint8Array<ArrayBuffer> {
  if ((stored === "F16" && dtype === "f16") || (stored === "F32" && dtype === "f32")) return bytes;
  const count = bytes.byteLength / STORED_BYTES[stored]!;
  // ranges of a file come at any byte offset, typed arrays want an aligned one
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset } = aligned;
  let source: Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>;
  if (stored === "F32") source = new Float32Array(buffer, byteOffset, count);
  else if (stored === "F16") source = new Float16Array(buffer, byteOffset, count);
  else {
    const widened = new Uint32Array(count);
    const halves = new Uint16Array(buffer, byteOffset, count);
    for (let i = 0; i < count; i++) widened[i] = halves[i]! << 16;
    source = new Float32Array(widened.buffer);
  }
  if (dtype === "f32") return new Uint8Array(Float32Array.from(source).buffer);
  const target = new Float16Array(count);
  for (let i = 0; i < count; i++) {
    const value = source[i]!;
    if (Math.abs(value) > F16_MAX) {
      throw new ExportError(`${key}: ${value} is outside the range of float16`);
    }
    target[i] = value;
  }
  return new Uint8Array(target.buffer);
}

/**
 * Transposes a row-major matrix of 2- or 4-byte elements.
 * Walks it in square tiles: a plain walk misses the cache on every write.
 */
export function transpose(
  bytes: Uint8Array<ArrayBuffer>,
  rows: number,
  columns: number,
): Uint8Array<ArrayBuffer> {
  const width = bytes.byteLength / (rows * columns);
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const ElementArray = width === 2 ? Uint16Array : Uint32Array;
  const source = new ElementArray(aligned.buffer, aligned.byteOffset, rows * columns);
  const target = new ElementArray(rows * columns);
  const tile = 32;
  for (let r0 = 0; r0 < rows; r0 += tile) {
    for (let c0 = 0; c0 < columns; c0 += tile) {
      const r1 = Math.min(rows, r0 + tile);
      const c1 = Math.min(columns, c0 + tile);
      for (let r = r0; r < r1; r++) {
        for (let c = c0; c < c1; c++) target[c * rows + r] = source[r * columns + c]!;
      }
    }
  }
  return new Uint8Array(target.buffer);
}

/**
 * A stored tensor as an initializer of type `dtype`.
 * @param dims the same elements under other dimensions, where a graph wants them so
 * @param transposed swaps the two axes of a matrix ([out, in] as stored, [in, out] for MatMul)
 */
export function storedInitializer<Entry extends StoredTensor>(
  reader: TensorReader<Entry>,
  key: string,
  name: string,
  dtype: "f16" | "f32",
  dims: readonly number[],
  transposed: boolean,
): Initializer {
  const entry = reader.tensors.get(key)!;
  const count = elements(entry.shape);
  const width = STORED_BYTES[entry.dtype]!;
  return {
    name,
    dtype,
    dims,
    byteLength: count * DATA_TYPE_BYTES[dtype],
    async *chunks() {
      if (transposed) {
        const [rows, columns] = entry.shape as [number, number];
        const bytes = convert(await reader.read(entry), entry.dtype, dtype, key);
        yield transpose(bytes, rows, columns);
        return;
      }
      for (let at = 0; at < count; at += PIECE) {
        const end = Math.min(count, at + PIECE);
        const bytes = await reader.read(entry, at * width, end * width);
        yield convert(bytes, entry.dtype, dtype, key);
      }
    },
  };
}
