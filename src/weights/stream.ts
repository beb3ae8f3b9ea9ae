/**
 * Checkpoint to GPU in the order of the file: pieces of whole rows, read many at a time, converted
 * and written. Host memory is bounded by the sizes below, whatever the model's size.
 */
import { isQuantType, type WeightDType } from "../gpu/quantized.ts";
import { bytesPerElement } from "../gpu/tensor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { toFloat, toHalf } from "./convert.ts";
import { byteLength, type RealType } from "./element_types.ts";
import { packRows } from "./row_layout.ts";
import type { WeightParameter } from "./parameter.ts";
import type { WeightGpu } from "./parts.ts";
import { quantize, type QuantizedRows } from "./quantize.ts";
import type { ByteRange } from "./tensors.ts";

const MiB = 2 ** 20;

/** Largest read, and largest piece before and after its conversion (unless one row is larger). */
const readBytes = 16 * MiB;

/** Neighbours with a gap of at most this are one read: small reads cost more than their bytes. */
const gapBytes = 64 * 1024;

/**
 * `writeBuffer` copies into staging memory that lives until a submit is done: about 64 MiB go
 * between two, and staging plus reads stay under 256 MiB.
 */
const submitBytes = 64 * MiB;

export interface StreamJob {
  readonly parameter: WeightParameter;
  readonly dtype: WeightDType;
}

/** A range of rows of one stored tensor. */
interface Piece extends StreamJob, ByteRange {
  readonly stored: RealType;
  /** First row in the parameter. */
  readonly row: number;
  readonly rows: number;
}

interface Read {
  readonly file: string;
  readonly start: number;
  end: number;
  readonly pieces: Piece[];
}

/**
 * Fills the parameters' tensors, which are allocated.
 * @returns the parameters whose values f16 or blocks of integers cannot hold; their tensors are incomplete
 */
export async function streamWeights(
  checkpoint: Checkpoint,
  gpu: WeightGpu,
  jobs: readonly StreamJob[],
  signal?: AbortSignal,
  onBytes?: (bytes: number) => void,
): Promise<ReadonlySet<WeightParameter>> {
  const tooWide = new Set<WeightParameter>();
  const reads = groupReads(jobs.flatMap((job) => cutPieces(checkpoint, job)));
  const start = (read: Read | undefined) => {
    const bytes = read && checkpoint.readRange(read);
    // The next read runs ahead; if this one fails, nobody waits for it.
    bytes?.catch(() => {});
    return bytes;
  };
  let pending = 0;
  const submit = async () => {
    await gpu.scope("weights", () => gpu.queue.submit([]));
    await gpu.idle();
    pending = 0;
  };
  signal?.throwIfAborted();
  let ahead = start(reads[0]);
  for (const [i, read] of reads.entries()) {
    const bytes = (await ahead)!;
    signal?.throwIfAborted();
    ahead = start(reads[i + 1]);
    for (const piece of read.pieces) {
      onBytes?.(piece.end - piece.start);
      if (tooWide.has(piece.parameter)) continue;
      const stored = bytes.subarray(piece.start - read.start, piece.end - read.start);
      const packed = pack(piece, stored);
      if (!packed) {
        tooWide.add(piece.parameter);
        continue;
      }
      piece.parameter.write(gpu, piece.row, piece.rows, packed);
      pending += "quants" in packed
        ? packed.quants.byteLength + packed.scales.byteLength
        : packed.byteLength;
      if (pending >= submitBytes) await submit();
    }
  }
  await submit();
  signal?.throwIfAborted();
  return tooWide;
}

/** A piece as it lies in GPU memory; undefined if a value does not fit the type. */
function pack(
  { dtype, stored: from, parameter: { layout } }: Piece,
  stored: Uint8Array<ArrayBuffer>,
): Float32Array | Uint16Array | QuantizedRows | undefined {
  if (isQuantType(dtype)) return quantize(dtype, toFloat(from, stored), layout.sourceRow);
  const values = (dtype === "f16" ? toHalf : toFloat)(from, stored);
  return values && packRows(layout, values);
}

function cutPieces(checkpoint: Checkpoint, job: StreamJob): Piece[] {
  const { keys, layout } = job.parameter;
  // Quantising passes through f32.
  const elementBytes = bytesPerElement[isQuantType(job.dtype) ? "f32" : job.dtype];
  const pieces: Piece[] = [];
  let row = 0;
  for (const key of keys) {
    const { type, ranges } = checkpoint.tensors.get(key)!;
    const stored = type as RealType;
    const rowBytes = byteLength(stored, layout.sourceRow);
    const largest = Math.max(rowBytes, layout.targetRow * elementBytes);
    // Dense f16 rows of odd length begin at a multiple of 4 bytes then, quantised ones at a texel.
    const step = Math.max(4, Math.floor(readBytes / largest / 4) * 4);
    for (const { file, start: first, end: last } of ranges) {
      for (let start = first; start < last; start += step * rowBytes) {
        const end = Math.min(last, start + step * rowBytes);
        const rows = (end - start) / rowBytes;
        pieces.push({ ...job, stored, file, start, end, row, rows });
        row += rows;
      }
    }
  }
  return pieces;
}

function groupReads(pieces: Piece[]): Read[] {
  pieces.sort((a, b) => a.file === b.file ? a.start - b.start : a.file < b.file ? -1 : 1);
  const reads: Read[] = [];
  for (const piece of pieces) {
    const last = reads.at(-1);
    if (
      last?.file === piece.file && piece.start - last.end <= gapBytes &&
      piece.end - last.start <= readBytes
    ) {
      last.pieces.push(piece);
      last.end = piece.end;
    } else {
      reads.push({ file: piece.file, start: piece.start, end: piece.end, pieces: [piece] });
    }
  }
  return reads;
}
