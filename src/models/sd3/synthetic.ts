/**
 * The family's real configurations without their weights: a model directory as published in names,
 * shapes and sizes, whose data is zeros or noise. For planning, for tests at real sizes, and for
 * whoever wants to know whether an adapter can do it before downloading 16 GB.
 */
import {
  type DeclaredTensor,
  syntheticCheckpoint,
  type SyntheticFile,
  type SyntheticOptions,
  textFile,
} from "../../weights/synthetic.ts";
import type { FileSource } from "../../weights/source.ts";
import { DeclaredWeights } from "../../weights/declared.ts";
import { networksByFolder } from "./networks.ts";
import repositories from "./repositories.json" with { type: "json" };
import { FileNotFoundError } from "../../weights/errors.ts";

const { shared, transformers } = repositories;

export type RepositoryName = keyof typeof transformers;
export const repositoryNames = Object.keys(transformers) as RepositoryName[];

/** How each library names the file of a network's weights, and the largest that it writes. */
const libraries = {
  transformers: { stem: "model", maxShardBytes: 5e9 },
  diffusers: { stem: "diffusion_pytorch_model", maxShardBytes: 10e9 },
};

/** The config files of a published model, by path. */
function configs(name: RepositoryName): Record<string, unknown> {
  return { ...shared, "transformer/config.json": transformers[name] };
}

/** Every tensor of a published model, by the folder of its network. */
export function declaredTensors(name: RepositoryName): Map<string, readonly DeclaredTensor[]> {
  const files = configs(name);
  return new Map([...networksByFolder].map(([folder, rows]) => {
    const weights = new DeclaredWeights(folder);
    for (const [, row] of rows) {
      row.declare(row.config.parse(files[`${folder}/config.json`]), weights);
    }
    return [folder, weights.declared];
  }));
}

/** Real tokenizers take this many tokens, whatever the ones that stand in for them take. */
const longestTexts: Readonly<Record<string, number>> = {
  "tokenizer/tokenizer_config.json": 77,
  "tokenizer_2/tokenizer_config.json": 77,
  "tokenizer_3/tokenizer_config.json": 512,
};

/** A model's files, by path. */
export interface SyntheticModel extends FileSource {
  readonly files: ReadonlyMap<string, SyntheticFile>;
}

/**
 * A published model with zeros or noise for weights.
 *
 * @param tokenizers a model whose tokenizers stand in for the real ones; their vocabularies may be
 * smaller
 */
export async function syntheticModel(
  name: RepositoryName,
  tokenizers: FileSource,
  { dtype = "f16", seed }: Partial<Pick<SyntheticOptions, "dtype" | "seed">> = {},
): Promise<SyntheticModel> {
  const files = new Map<string, SyntheticFile>();
  const json = (path: string, content: unknown) =>
    files.set(path, textFile(JSON.stringify(content, null, 2) + "\n"));
  for (const [path, config] of Object.entries(configs(name))) json(path, config);
  for (const path of await tokenizers.list()) {
    if (!path.startsWith("tokenizer")) continue;
    const longest = longestTexts[path];
    if (longest === undefined) {
      const bytes = await tokenizers.read(path, 0, await tokenizers.size(path));
      files.set(path, { size: bytes.length, read: (start, end) => bytes.slice(start, end) });
    } else json(path, { ...JSON.parse(await tokenizers.text(path)), model_max_length: longest });
  }
  for (const [folder, tensors] of declaredTensors(name)) {
    const { stem, maxShardBytes } = libraries[networksByFolder.get(folder)![0]![1].library];
    const options = { dtype, seed, maxShardBytes };
    for (const [file, content] of syntheticCheckpoint(stem, tensors, options)) {
      files.set(`${folder}/${file}`, content);
    }
  }
  const found = (path: string) => {
    const file = files.get(path);
    if (!file) throw new FileNotFoundError(name, path);
    return file;
  };
  return {
    name,
    files,
    list: () => Promise.resolve([...files.keys()].sort()),
    has: (path) => Promise.resolve(files.has(path)),
    size: async (path) => await found(path).size,
    read: async (path, start, end) => await found(path).read(start, end),
    text: async (path) => {
      const file = found(path);
      return await new TextDecoder().decode(file.read(0, file.size));
    },
  };
}
