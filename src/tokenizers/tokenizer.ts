/**
 * What the text encoders need of a tokenizer: token ids of one fixed length, and the text that did
 * not fit. Pure: a tokenizer is built from the files' contents, never from paths.
 */

export interface EncodeOptions {
  /** Ids to return; `modelMaxLength` of the tokenizer's own config if absent. */
  readonly maxLength?: number | undefined;
}

export interface EncodedText {
  /** `[maxLength]`: special tokens included, cut or filled with the pad token. */
  readonly ids: Int32Array<ArrayBuffer>;
  /** Text of the tokens that were cut; "" if all fitted. */
  readonly removed: string;
}

export interface Tokenizer {
  /** `model_max_length` of tokenizer_config.json; `Infinity` where the file has none to give. */
  readonly modelMaxLength: number;
  /** @throws {RangeError} if `maxLength` cannot even hold the special tokens. */
  encode(text: string, options?: EncodeOptions): EncodedText;
}

/** The fields of tokenizer_config.json (or special_tokens_map.json) that are read here. */
export type TokenizerConfig = Readonly<Record<string, unknown>>;

/** A token of the config: a plain string or `{content}`; undefined if absent. */
export function tokenOf(
  name: string,
  config: TokenizerConfig,
  specialTokensMap?: TokenizerConfig,
): string | undefined {
  const entry = config[name] ?? specialTokensMap?.[name];
  if (typeof entry === "string") return entry;
  if (typeof entry === "object" && entry !== null && "content" in entry) {
    return typeof entry.content === "string" ? entry.content : undefined;
  }
  return undefined;
}

/**
 * `model_max_length`. Saved configs write transformers' "no limit" as int(1e30), which is not a
 * length: then the caller's `maxLength` decides.
 */
export function modelMaxLengthOf(config: TokenizerConfig): number {
  const length = config.model_max_length;
  if (length === undefined || length === null) return Infinity;
  if (typeof length !== "number" || !(length >= 1)) {
    throw new TypeError(
      `tokenizer_config.json: model_max_length must be a positive number, not ${length}`,
    );
  }
  return length > 2 ** 31 ? Infinity : Math.trunc(length);
}

/**
 * Cuts the content tokens to what fits beside the special ones, and fills up with `pad`, as
 * transformers does with `padding="max_length", truncation=True`.
 */
export function fitToLength(
  content: readonly number[],
  layout: { readonly prefix: readonly number[]; readonly suffix: readonly number[]; pad: number },
  maxLength: number,
  decode: (ids: number[]) => string,
): EncodedText {
  const { prefix, suffix, pad } = layout;
  const room = maxLength - prefix.length - suffix.length;
  if (!Number.isInteger(maxLength) || room < 0) {
    throw new RangeError(
      `maxLength must be an integer of at least ${prefix.length + suffix.length} tokens, ` +
        `not ${maxLength}`,
    );
  }
  const kept = content.length > room ? content.slice(0, room) : content;
  const ids = new Int32Array(maxLength).fill(pad);
  ids.set(prefix, 0);
  ids.set(kept, prefix.length);
  ids.set(suffix, prefix.length + kept.length);
  return { ids, removed: content.length > room ? decode(content.slice(room)).trim() : "" };
}
