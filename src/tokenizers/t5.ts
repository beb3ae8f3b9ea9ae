import { Tokenizer as TokenizerModel } from "@huggingface/tokenizers";
import { createCharsMap } from "./chars_map.ts";
import {
  type EncodedText,
  type EncodeOptions,
  fitToLength,
  modelMaxLengthOf,
  type Tokenizer,
  type TokenizerConfig,
  tokenOf,
} from "./tokenizer.ts";

export interface T5TokenizerFiles {
  /** tokenizer.json, parsed or as text. */
  readonly tokenizer: string | Readonly<Record<string, unknown>>;
  /** tokenizer_config.json */
  readonly config: TokenizerConfig;
  /** special_tokens_map.json; consulted for tokens that the config does not name. */
  readonly specialTokensMap?: TokenizerConfig | undefined;
}

/**
 * Longer words are cut for the lattice search, whose stack grows with a word's tokens. The best path
 * through the first few thousand characters does not depend on what comes after so many.
 */
const longestWord = 50_000;

type Part = Record<string, unknown> & { readonly type?: string };
type Normalize = (text: string) => string;

/**
 * T5's unigram tokenizer from its tokenizer.json: pieces, then `</s>`, then padding.
 *
 * Two parts of the file are done here, because the library approximates them: the normaliser's
 * precompiled character map (`chars_map.ts`), and the split at word boundaries that `Metaspace`
 * asks for, which also bounds the work to one word at a time.
 */
export function createT5Tokenizer(files: T5TokenizerFiles): Tokenizer {
  const file = typeof files.tokenizer === "string"
    ? JSON.parse(files.tokenizer) as Record<string, unknown>
    : files.tokenizer;
  const { charsMap, normalizer } = takeCharsMap(file.normalizer as Part | null | undefined);
  const model = new TokenizerModel(
    { ...file, normalizer, pre_tokenizer: splitWords(file.pre_tokenizer as Part | null) },
    files.config,
  );
  if (charsMap) {
    const rest = model.normalizer as unknown as Normalize | null;
    const fuse = unknownRuns(model.get_vocab().keys());
    const normalize: Normalize = (text) => fuse(rest ? rest(charsMap(text)) : charsMap(text));
    model.normalizer = normalize as unknown as NonNullable<typeof model.normalizer>;
  }
  const idOf = (name: string): number => {
    const content = tokenOf(name, files.config, files.specialTokensMap);
    const id = content === undefined ? undefined : model.token_to_id(content);
    if (id === undefined) {
      throw new Error(`tokenizer.json has no ${name} ${JSON.stringify(content)}`);
    }
    return id;
  };
  const layout = { prefix: [], suffix: [idOf("eos_token")], pad: idOf("pad_token") };
  const modelMaxLength = modelMaxLengthOf(files.config);
  return {
    modelMaxLength,
    encode(text: string, { maxLength = modelMaxLength }: EncodeOptions = {}): EncodedText {
      const content = model.encode(text.toWellFormed(), { add_special_tokens: false }).ids;
      return fitToLength(content, layout, maxLength, (ids) => model.decode(ids));
    },
  };
}

/**
 * Shortens a run of characters that no piece contains to one of them. The model fuses such a run
 * into a single unknown token anyhow, in time that grows with the square of its length.
 */
function unknownRuns(pieces: Iterable<string>): Normalize {
  const known = new Set<string>();
  for (const piece of pieces) for (const char of piece) known.add(char);
  known.add(" ");
  return (text) => {
    let shortened = "";
    let afterUnknown = false;
    for (const char of text) {
      const unknown = !known.has(char);
      if (!unknown || !afterUnknown) shortened += char;
      afterUnknown = unknown;
    }
    return shortened;
  };
}

/** Takes the `Precompiled` normaliser out of the file's sequence, where it comes first. */
function takeCharsMap(
  normalizer: Part | null | undefined,
): { charsMap?: Normalize; normalizer: object | null } {
  if (!normalizer) return { normalizer: null };
  const parts = normalizer.type === "Sequence" ? normalizer.normalizers as Part[] : [normalizer];
  const at = parts.findIndex((part) => part.type === "Precompiled");
  if (at < 0) return { normalizer };
  if (at > 0) throw new Error("tokenizer.json: the Precompiled normaliser must come first");
  const encoded = parts[0]?.precompiled_charsmap;
  const rest = { type: "Sequence", normalizers: parts.slice(1) };
  return typeof encoded === "string" && encoded.length > 0
    ? { charsMap: createCharsMap(encoded), normalizer: rest }
    : { normalizer: rest };
}

/** Adds to `Metaspace` the split before every word that its `split` field (default true) means. */
function splitWords(preTokenizer: Part | null | undefined): object | null {
  if (!preTokenizer) return null;
  const parts = preTokenizer.type === "Sequence"
    ? preTokenizer.pretokenizers as Part[]
    : [preTokenizer];
  return {
    type: "Sequence",
    pretokenizers: parts.flatMap((part) => {
      if (part.type !== "Metaspace" || part.split === false) return [part];
      const mark = String(part.replacement ?? "▁");
      const regex = `${mark}[^${mark}]{0,${longestWord}}|[^${mark}]{1,${longestWord}}`;
      return [part, {
        type: "Split",
        pattern: { Regex: regex },
        behavior: "Removed",
        invert: true,
      }];
    }),
  };
}
