/** Prompts to token ids, for the three text encoders at once. */
import type { EncodedText, Tokenizer } from "../../tokenizers/tokenizer.ts";
import type { FileSource } from "../../weights/source.ts";
import type { PromptTokens } from "./embed_prompt.ts";
import { clipTokenizer, type FoundTokenizer, t5Tokenizer } from "./tokenizer_files.ts";

/** One for each text encoder. */
export interface Tokenizers {
  readonly clipL: Tokenizer;
  readonly clipG: Tokenizer;
  readonly t5: Tokenizer | undefined;
}

export interface TokenizerRow {
  /** Its entry in model_index.json, and its folder. */
  readonly folder: string;
  readonly classes: readonly string[];
  readonly read: (source: FileSource, folder: string) => Promise<FoundTokenizer>;
}

const clip = { classes: ["CLIPTokenizer", "CLIPTokenizerFast"], read: clipTokenizer };

const t5 = { classes: ["T5TokenizerFast", "T5Tokenizer"], read: t5Tokenizer };

/** Each goes with the network of its name. */
export const tokenizerList: readonly (readonly [keyof Tokenizers, TokenizerRow])[] = [
  ["clipL", { ...clip, folder: "tokenizer" }],
  ["clipG", { ...clip, folder: "tokenizer_2" }],
  ["t5", { ...t5, folder: "tokenizer_3" }],
];

/** One prompt for each encoder: CLIP-L, CLIP-G, T5. */
export type PromptTriple = readonly [string, string, string];

export interface TokenizedPrompt {
  readonly tokens: PromptTokens;
  /** For each encoder whose limit cut its prompt, the text of the tokens that did not fit. */
  readonly truncated: readonly {
    readonly encoder: "clip_l" | "clip_g" | "t5";
    readonly removed: string;
  }[];
}

/**
 * Token ids of a prompt for the three encoders, and what did not fit. No lock is needed: a call of
 * a tokenizer is synchronous and leaves nothing behind that another could see. Asynchronous, since
 * a `RequestScopedPipeline` puts tokenizers behind its lock whatever they are.
 */
export async function tokenize(
  { clipL, clipG, t5 }: Tokenizers,
  [first, second, third]: PromptTriple,
  maxSequenceLength: number,
): Promise<TokenizedPrompt> {
  const none: EncodedText = { ids: new Int32Array(0), removed: "" };
  const l = await clipL.encode(first);
  const g = await clipG.encode(second);
  const t = await t5?.encode(third, { maxLength: maxSequenceLength }) ?? none;
  return {
    tokens: { clipL: l.ids, clipG: g.ids, t5: t.ids },
    truncated: ([["clip_l", l], ["clip_g", g], ["t5", t]] as const)
      .filter(([, encoded]) => encoded.removed !== "")
      .map(([encoder, { removed }]) => ({ encoder, removed })),
  };
}

/**
 * Tokens that stand for T5 in the context. Without T5, diffusers puts zeros of the CLIP tokenizer's
 * length there.
 */
export function t5Length({ clipL, t5 }: Tokenizers, maxSequenceLength: number): number {
  return t5 ? maxSequenceLength : clipL.modelMaxLength;
}
