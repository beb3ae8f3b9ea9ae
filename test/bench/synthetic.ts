/**
 * Checkpoints of any size with made-up values: the loader and the ONNX exporter read the same ones,
 * so that both engines compute the same thing.
 */
import { storedBytes } from "../../src/weights/safetensors.ts";
import type { Checkpoint, TensorEntry } from "../../src/weights/checkpoint.ts";
import { random } from "../gpu.ts";

const file = "synthetic";

/** Values after which they repeat: odd, so that the rows of a matrix differ. */
const period = 2 ** 19 - 1;

/** Tensors by name and shape; matrices are stored as `dtype`, vectors as F32. */
export function syntheticCheckpoint(
  shapes: Iterable<readonly [name: string, shape: readonly number[]]>,
  dtype: "F16" | "F32" = "F16",
): Checkpoint {
  const tensors = new Map<string, TensorEntry>();
  let end = 0;
  for (const [name, shape] of shapes) {
    const stored = shape.length > 1 ? dtype : "F32";
    const start = end;
    end += storedBytes[stored] * shape.reduce((product, extent) => product * extent, 1);
    tensors.set(name, { file, dtype: stored, shape, start, end });
  }
  // As small as trained weights are, so that activations keep their size.
  const patterns = {
    F16: new Uint8Array(Float16Array.from(random(period, 1, 0.05)).buffer),
    F32: new Uint8Array(random(period, 2, 0.05).buffer),
  };
  const fill = (entry: TensorEntry, from: number, to: number) => {
    const pattern = patterns[entry.dtype as "F16" | "F32"];
    const bytes = new Uint8Array(to - from);
    for (let at = 0; at < bytes.length;) {
      const offset = (from + at) % pattern.length;
      const piece = pattern.subarray(offset, offset + bytes.length - at);
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  };
  return {
    name: file,
    tensors,
    files: [file],
    read: (entry, start = 0, end = entry.end - entry.start) =>
      Promise.resolve(fill(entry, start, end)),
    readFile: (_, start, end) => {
      const bytes = new Uint8Array(end - start);
      for (const entry of tensors.values()) {
        const from = Math.max(start, entry.start);
        const to = Math.min(end, entry.end);
        if (from < to) bytes.set(fill(entry, from - entry.start, to - entry.start), from - start);
      }
      return Promise.resolve(bytes);
    },
  };
}
