/**
 * Tensors of a checkpoint on their way into an ONNX file: each is described at once and its bytes
 * come later, piece by piece, so that host memory holds one tensor at most.
 */
import { elements } from "../../../gpu/tensor.ts";
import { type Checkpoint, readTensor } from "../../../weights/checkpoint.ts";
import { toFloat } from "../../../weights/convert.ts";
import { byteLength, type ElementType } from "../../../weights/element_types.ts";
import type { StoredTensor } from "../../../weights/tensors.ts";
import { ExportError } from "../errors.ts";
import type { DataType } from "../proto.ts";
import { dataTypeBytes } from "../proto.ts";

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
const pieceElements = 2 ** 21;
/** What can be exported. */
type ExportType = "F32" | "F16" | "BF16";
const f16Max = 65504;

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
export function narrowType({ type }: StoredTensor, key: string): "f16" | "f32" {
  return exportType(type, key) === "F32" ? "f32" : "f16";
}

function exportType(type: ElementType, key: string): ExportType {
  if (type === "F32" || type === "F16" || type === "BF16") return type;
  throw new ExportError(`${key}: element type ${type} cannot be exported; F32, F16 and BF16 can`);
}

/** Converts stored bytes to `dtype`. Input and output are little-endian, as both formats are. */
export function convert(
  bytes: Uint8Array<ArrayBuffer>,
  stored: ExportType,
  dtype: "f16" | "f32",
  key: string,
): Uint8Array<ArrayBuffer> {
  if ((stored === "F16" && dtype === "f16") || (stored === "F32" && dtype === "f32")) return bytes;
  const source = toFloat(stored, bytes);
  if (dtype === "f32") return new Uint8Array(source.buffer);
  const tooLarge = source.find((value) => Math.abs(value) > f16Max);
  if (tooLarge !== undefined) {
    throw new ExportError(`${key}: ${tooLarge} is outside the range of float16`);
  }
  return new Uint8Array(Float16Array.from(source).buffer);
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
export function storedInitializer(
  checkpoint: Checkpoint,
  key: string,
  name: string,
  dtype: "f16" | "f32",
  dims: readonly number[],
  transposed: boolean,
): Initializer {
  const entry = checkpoint.tensors.get(key)!;
  const stored = exportType(entry.type, key);
  const count = elements(entry.shape);
  return {
    name,
    dtype,
    dims,
    byteLength: count * dataTypeBytes[dtype],
    async *chunks() {
      if (transposed) {
        const [rows, columns] = entry.shape as [number, number];
        const bytes = convert(await readTensor(checkpoint, entry), stored, dtype, key);
        yield transpose(bytes, rows, columns);
        return;
      }
      for (let at = 0; at < count; at += pieceElements) {
        const end = Math.min(count, at + pieceElements);
        const [from, to] = [byteLength(stored, at), byteLength(stored, end)];
        yield convert(await readTensor(checkpoint, entry, from, to), stored, dtype, key);
      }
    },
  };
}
