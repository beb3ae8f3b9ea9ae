/**
 * One folder a network with its weights in one file or in shards that an index names, under the names
 * that the networks declare: how diffusers and transformers save a model.
 */
import { type Checkpoint, checkpointOf, openFile } from "../checkpoint.ts";
import { openContainer } from "../containers/mod.ts";
import { ProblemList, WeightsError } from "../errors.ts";
import { type FileSource, isInnerPath, joinPath } from "../source.ts";
import type { StoredTensor } from "../tensors.ts";
import { wrongStart } from "../wrong_kind.ts";

/** File names without ending, as diffusers and transformers save them. */
const stems = ["diffusion_pytorch_model", "model"];

/** The plain name first, then the half-precision twin; a single file before shards. */
const endings = [
  { suffix: ".safetensors", isIndex: false },
  { suffix: ".safetensors.index.json", isIndex: true },
  { suffix: ".fp16.safetensors", isIndex: false },
  // diffusers and transformers put the variant before the last ending, whatever that is.
  { suffix: ".safetensors.index.fp16.json", isIndex: true },
  { suffix: ".fp16.safetensors.index.json", isIndex: true },
];

export const diffusers = {
  place: (folder: string) =>
    joinPath(folder, `{${stems.join(",")}}.safetensors (or its index or fp16 twin)`),
  async open(source: FileSource, folder: string): Promise<Checkpoint | undefined> {
    for (const { suffix, isIndex } of endings) {
      for (const stem of stems) {
        const path = joinPath(folder, stem + suffix);
        if (!await source.has(path)) continue;
        return isIndex ? await openIndex(source, folder, path) : await openFile(source, path);
      }
    }
    return undefined;
  },
};

async function openIndex(source: FileSource, folder: string, path: string): Promise<Checkpoint> {
  const weightMap = parseIndex(await source.text(path), path);
  const problems = new ProblemList();
  const tensors = new Map<string, StoredTensor>();
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
      for (const [name, tensor] of await openContainer(source, file)) {
        const home = weightMap.get(name);
        // The index decides which copy counts; what it does not list is the model's to judge.
        if (home !== undefined && home !== shard) continue;
        const other = tensors.get(name);
        if (other) problems.add("corrupt", `${file}: ${name} is also in ${other.ranges[0]?.file}`);
        tensors.set(name, tensor);
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
  return checkpointOf(source, path, tensors);
}

/** Tensor name to shard. */
function parseIndex(text: string, path: string): Map<string, string> {
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const wrong = wrongStart(path, text) ?? `${path}: is not valid JSON: ${reason}`;
    throw new WeightsError(path, { corrupt: [wrong] });
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
