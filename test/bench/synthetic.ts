/**
 * Checkpoints of any size with made-up values: the loader and the ONNX exporter read the same ones,
 * so that both backends compute the same thing.
 */
import { byteLength } from "../../src/weights/element_types.ts";
import type { StoredTensor } from "../../src/weights/tensors.ts";
import type { Checkpoint } from "../../src/weights/checkpoint.ts";
import { random } from "../gpu.ts";

const file = "synthetic";

/** Values after which they repeat: odd, so that the rows of a matrix differ. */
const period = 2 ** 19 - 1;

/** Tensors by name and shape; matrices are stored as `dtype`, vectors as F32. */
export function syntheticCheckpoint(
  shapes: Iterable<readonly [name: string, shape: readonly number[]]>,
  dtype: "F16" | "F32" = "F16",
): Checkpoint {
  const tensors = new Map<string, StoredTensor>();
  let end = 0;
  for (const [name, shape] of shapes) {
    const stored = shape.length > 1 ? dtype : "F32";
    const start = end;
    end += byteLength(stored, shape.reduce((product, extent) => product * extent, 1));
    tensors.set(name, { type: stored, shape, ranges: [{ file, start, end }] });
  }
  // As small as trained weights are, so that activations keep their size.
  const patterns = {
    F16: new Uint8Array(Float16Array.from(random(period, 1, 0.05)).buffer),
    F32: new Uint8Array(random(period, 2, 0.05).buffer),
  };
  const fill = ({ type }: StoredTensor, from: number, bytes: Uint8Array) => {
    const pattern = patterns[type as "F16" | "F32"];
    for (let at = 0; at < bytes.length;) {
      const offset = (from + at) % pattern.length;
      const piece = pattern.subarray(offset, offset + bytes.length - at);
      bytes.set(piece, at);
      at += piece.length;
    }
  };
  return {
    name: file,
    tensors,
    readRange: ({ start, end }) => {
      const bytes = new Uint8Array(end - start);
      for (const tensor of tensors.values()) {
        const [range] = tensor.ranges;
        const from = Math.max(start, range!.start);
        const to = Math.min(end, range!.end);
        if (from < to) fill(tensor, from - range!.start, bytes.subarray(from - start, to - start));
      }
      return Promise.resolve(bytes);
    },
  };
}
