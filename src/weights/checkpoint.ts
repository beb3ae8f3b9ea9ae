/** One network's tensors in one file or in shards that an index names. */
import { FileNotFoundError, ProblemList, WeightsError } from "./errors.ts";
import {
  parseHeader,
  prefixBytes,
  readHeaderLength,
  type SafetensorsHeader,
  type StoredTensor,
} from "./safetensors.ts";
import { type FileSource, isInnerPath, joinPath } from "./source.ts";

/** Where a tensor lies; `start` and `end` are byte offsets in `file`. */
export interface TensorEntry extends StoredTensor {
  readonly file: string;
}

export interface Checkpoint {
  /** For messages: the source and the folder or file. */
  readonly name: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Files the tensors come from. */
  readonly files: readonly string[];
  /** Bytes `start` to `end` (default: all) of one tensor, counted from its first. */
  read(entry: TensorEntry, start?: number, end?: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Bytes of a file as they lie: for reading neighbouring tensors at once. */
  readFile(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** File names without ending, as diffusers and transformers save them. */
export const defaultStems: readonly string[] = ["diffusion_pytorch_model", "model"];

/** The plain name first, then the half-precision twin; a single file before shards. */
const endings: readonly { readonly suffix: string; readonly isIndex: boolean }[] = [
  { suffix: ".safetensors", isIndex: false },
  { suffix: ".safetensors.index.json", isIndex: true },
  { suffix: ".fp16.safetensors", isIndex: false },
  // diffusers and transformers put the variant before the last ending, whatever that is.
  { suffix: ".safetensors.index.fp16.json", isIndex: true },
  { suffix: ".fp16.safetensors.index.json", isIndex: true },
];

/**
 * Finds the weights in `folder` ("" for the source's root) and validates every header against its
 * file's size, so that a damaged or unfinished download is refused before anything is allocated.
 * @throws {FileNotFoundError} if there is no weight file
 * @throws {WeightsError} listing everything wrong with the files
 */
export async function openCheckpoint(
  source: FileSource,
  folder: string,
  stems: readonly string[] = defaultStems,
): Promise<Checkpoint> {
  for (const { suffix, isIndex } of endings) {
    for (const stem of stems) {
      const path = joinPath(folder, stem + suffix);
      if (!await source.has(path)) continue;
      return isIndex ? await openIndex(source, folder, path) : await openFile(source, path);
    }
  }
  throw new FileNotFoundError(
    source.name,
    joinPath(folder, `{${stems.join(",")}}.safetensors (or its index or fp16 twin)`),
  );
}

/**
 * A checkpoint that is one file of any name.
 * @throws {FileNotFoundError}
 * @throws {WeightsError}
 */
export async function openFile(source: FileSource, path: string): Promise<Checkpoint> {
  const { tensors } = await readHeader(source, path);
  return checkpoint(
    source,
    path,
    new Map([...tensors].map(([name, tensor]) => [name, { ...tensor, file: path }])),
  );
}

/** The validated header of one file. */
async function readHeader(source: FileSource, path: string): Promise<SafetensorsHeader> {
  const size = await source.size(path);
  const prefix = await source.read(path, 0, Math.min(prefixBytes, size));
  const length = readHeaderLength(prefix, size, path);
  return parseHeader(await source.read(path, prefixBytes, prefixBytes + length), size, path);
}

async function openIndex(source: FileSource, folder: string, path: string): Promise<Checkpoint> {
  const weightMap = parseIndex(await source.text(path), path);
  const problems = new ProblemList();
  const tensors = new Map<string, TensorEntry>();
  const shards = [...new Set(weightMap.values())];
  /** Shards whose own trouble is listed already; that all their tensors are gone says nothing new. */
  const unread = new Set<string>();
  for (const shard of shards) {
    const file = joinPath(folder, shard);
    if (!isInnerPath(shard) || !await source.has(file)) {
      problems.add("corrupt", `${path}: names the file ${JSON.stringify(shard)}, which is absent`);
      unread.add(shard);
      continue;
    }
    try {
      for (const [name, tensor] of (await readHeader(source, file)).tensors) {
        const home = weightMap.get(name);
        // The index decides which copy counts; what it does not list is the model's to judge.
        if (home !== undefined && home !== shard) continue;
        const other = tensors.get(name);
        if (other) problems.add("corrupt", `${file}: ${name} is also in ${other.file}`);
        tensors.set(name, { ...tensor, file });
      }
    } catch (error) {
      problems.absorb(error);
      unread.add(shard);
    }
  }
  for (const [name, shard] of weightMap) {
    if (tensors.has(name) || unread.has(shard)) continue;
    problems.add("corrupt", `${path}: names ${name} in ${shard}, which lacks it`);
  }
  problems.throwIfAny(path);
  return checkpoint(source, path, tensors);
}

/** Tensor name to shard. */
function parseIndex(text: string, path: string): Map<string, string> {
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new WeightsError(path, { corrupt: [`${path}: is not valid JSON: ${reason}`] });
  }
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new WeightsError(path, { corrupt: [`${path}: has no weight_map`] });
  }
  const entries = Object.entries(map);
  const bad = entries.filter(([, shard]) => typeof shard !== "string");
  if (bad.length > 0 || entries.length === 0) {
    throw new WeightsError(path, {
      corrupt: entries.length === 0
        ? [`${path}: its weight_map is empty`]
        : bad.map(([name]) => `${path}: ${name} is not mapped to a file name`),
    });
  }
  return new Map(entries as [string, string][]);
}

function checkpoint(
  source: FileSource,
  path: string,
  tensors: ReadonlyMap<string, TensorEntry>,
): Checkpoint {
  return {
    name: `${source.name}/${path}`,
    tensors,
    files: [...new Set([...tensors.values()].map(({ file }) => file))],
    read: (entry, start = 0, end = entry.end - entry.start) =>
      source.read(entry.file, entry.start + start, entry.start + end),
    readFile: (file, start, end) => source.read(file, start, end),
  };
}
