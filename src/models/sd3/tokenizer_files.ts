/** The tokenizers of a model directory, and how its JSON files are read. */
import { jsonObject, parseConfig, vocabulary } from "./configs.ts";
import { createClipTokenizer } from "../../tokenizers/clip.ts";
import { createT5Tokenizer } from "../../tokenizers/t5.ts";
import type { Tokenizer } from "../../tokenizers/tokenizer.ts";
import type { FileSource } from "../../weights/source.ts";
import { ConfigError } from "../errors.ts";

/** An object out of a JSON file. */
export async function readJson(source: FileSource, path: string): Promise<Record<string, unknown>> {
  return parseConfig(jsonObject, await source.text(path), path);
}

async function optionalJson(source: FileSource, path: string) {
  return await source.has(path) ? await readJson(source, path) : undefined;
}

/** What `build` makes of a file's content; its complaints are about the file. */
export function built<T>(path: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw new ConfigError(`${path} cannot be used:\n  ${(error as Error).message}`);
  }
}

/** A tokenizer with the largest id that it can give. */
export interface FoundTokenizer {
  readonly tokenizer: Tokenizer;
  readonly largestId: number;
}

/** CLIP's vocab.json and merges.txt: the real repositories hold no tokenizer.json for it. */
export async function clipTokenizer(source: FileSource, folder: string): Promise<FoundTokenizer> {
  const path = `${folder}/vocab.json`;
  const vocab = parseConfig(vocabulary, await source.text(path), path);
  const files = {
    vocab,
    merges: await source.text(`${folder}/merges.txt`),
    config: await readJson(source, `${folder}/tokenizer_config.json`),
    specialTokensMap: await optionalJson(source, `${folder}/special_tokens_map.json`),
  };
  const added = Object.keys(files.config.added_tokens_decoder ?? {}).map(Number);
  return {
    tokenizer: built(folder, () => createClipTokenizer(files)),
    largestId: largest([...Object.values(vocab), ...added]),
  };
}

/** T5's tokenizer.json. */
export async function t5Tokenizer(source: FileSource, folder: string): Promise<FoundTokenizer> {
  const files = {
    tokenizer: await readJson(source, `${folder}/tokenizer.json`),
    config: await readJson(source, `${folder}/tokenizer_config.json`),
    specialTokensMap: await optionalJson(source, `${folder}/special_tokens_map.json`),
  };
  const { model, added_tokens: added } = files.tokenizer as {
    model?: { vocab?: ArrayLike<unknown> };
    added_tokens?: { id: number }[];
  };
  return {
    tokenizer: built(folder, () => createT5Tokenizer(files)),
    largestId: largest([(model?.vocab?.length ?? 0) - 1, ...(added ?? []).map(({ id }) => id)]),
  };
}

function largest(ids: readonly number[]): number {
  return ids.reduce((most, id) => Math.max(most, id), 0);
}
