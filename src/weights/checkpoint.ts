/** One network's tensors by the names that it declares, and how they are read. */
import { openContainer } from "./containers/mod.ts";
import type { FileSource } from "./source.ts";
import { type ByteRange, cutRanges, storedBytes, type StoredTensor } from "./tensors.ts";

export interface Checkpoint {
  /** For messages: the source and the folder or file. */
  readonly name: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Bytes as they lie in a file: neighbouring tensors may be read at once. */
  readRange(range: ByteRange): Promise<Uint8Array<ArrayBuffer>>;
}

/** The tensors of files of one source. */
export function checkpointOf(
  source: FileSource,
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
): Checkpoint {
  return {
    name: `${source.name}/${path}`,
    tensors,
    readRange: ({ file, start, end }) => source.read(file, start, end),
  };
}

/**
 * A checkpoint that is one file of any name.
 * @throws {FileNotFoundError}
 * @throws {WeightsError}
 */
export async function openFile(source: FileSource, path: string): Promise<Checkpoint> {
  return checkpointOf(source, path, await openContainer(source, path));
}

/** Bytes `start` to `end` (default: all) of one tensor, counted from its first. */
export async function readTensor(
  checkpoint: Checkpoint,
  tensor: StoredTensor,
  start = 0,
  end: number = storedBytes(tensor),
): Promise<Uint8Array<ArrayBuffer>> {
  const ranges = cutRanges(tensor.ranges, start, end);
  if (ranges.length === 1) return await checkpoint.readRange(ranges[0]!);
  const bytes = new Uint8Array(end - start);
  let at = 0;
  for (const range of ranges) {
    bytes.set(await checkpoint.readRange(range), at);
    at += range.end - range.start;
  }
  return bytes;
}
