import { createClipTokenizer } from "../../src/tokenizers/clip.ts";
import { createT5Tokenizer } from "../../src/tokenizers/t5.ts";

/** The tiny model's folder. */
const model = new URL("../../fixtures/sd35-tiny/", import.meta.url);

// deno-lint-ignore no-explicit-any
export const readJson = (path: string): any => JSON.parse(readText(path));
export const readText = (path: string): string => Deno.readTextFileSync(new URL(path, model));

export function clipFiles(folder: "tokenizer" | "tokenizer_2") {
  return {
    vocab: readJson(`${folder}/vocab.json`),
    merges: readText(`${folder}/merges.txt`),
    config: readJson(`${folder}/tokenizer_config.json`),
    specialTokensMap: readJson(`${folder}/special_tokens_map.json`),
  };
}

export function t5Files() {
  return {
    tokenizer: readText("tokenizer_3/tokenizer.json"),
    config: readJson("tokenizer_3/tokenizer_config.json"),
  };
}

export const clipL = createClipTokenizer(clipFiles("tokenizer"));
export const clipG = createClipTokenizer(clipFiles("tokenizer_2"));
export const t5 = createT5Tokenizer(t5Files());

interface Entry {
  readonly dtype: "I64" | "F32";
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** Tensors of a golden file, as plain numbers; independent of the loader under `src`. */
export function readGolden(name: string): Record<string, { shape: number[]; data: number[] }> {
  const bytes = Deno.readFileSync(new URL(`../golden/${name}.safetensors`, model));
  const view = new DataView(bytes.buffer);
  const headerEnd = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, headerEnd)));
  delete header.__metadata__;
  return Object.fromEntries(
    Object.entries(header as Record<string, Entry>).map(([key, entry]) => {
      const [begin, end] = entry.data_offsets;
      const data: number[] = [];
      for (let at = headerEnd + begin; at < headerEnd + end; at += entry.dtype === "I64" ? 8 : 4) {
        data.push(
          entry.dtype === "I64" ? Number(view.getBigInt64(at, true)) : view.getFloat32(at, true),
        );
      }
      return [key, { shape: [...entry.shape], data }];
    }),
  );
}
