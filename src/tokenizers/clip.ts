import { Tokenizer as TokenizerModel } from "@huggingface/tokenizers";
import {
  type EncodedText,
  type EncodeOptions,
  fitToLength,
  modelMaxLengthOf,
  type Tokenizer,
  type TokenizerConfig,
  tokenOf,
} from "./tokenizer.ts";

export interface ClipTokenizerFiles {
  /** vocab.json */
  readonly vocab: Readonly<Record<string, number>>;
  /** merges.txt, with or without its `#version` line. */
  readonly merges: string;
  /** tokenizer_config.json */
  readonly config: TokenizerConfig;
  /** special_tokens_map.json; consulted for tokens that the config does not name. */
  readonly specialTokensMap?: TokenizerConfig | undefined;
}

// The White_Space characters of Unicode. JavaScript's \s differs: it has U+FEFF and lacks U+0085.
const whiteSpace =
  "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/**
 * CLIP's byte-level BPE as transformers' CLIPTokenizerFast has it: NFC, white space collapsed,
 * lower case, no ftfy. The Stable Diffusion repositories hold no tokenizer.json for CLIP, so the
 * same pipeline is assembled here (transformers `convert_slow_tokenizer.py`, CLIPConverter).
 *
 * @throws {TypeError | Error} if the files lack a token that the config names.
 */
export function createClipTokenizer(files: ClipTokenizerFiles): Tokenizer {
  const { vocab, config, specialTokensMap } = files;
  const bos = required("bos_token", files);
  const eos = required("eos_token", files);
  const pad = required("pad_token", files);
  const unk = tokenOf("unk_token", config, specialTokensMap) ?? eos.content;
  const model = new TokenizerModel(
    {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens(files),
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "NFC" },
          { type: "Replace", pattern: { Regex: `[${whiteSpace}]+` }, content: " " },
          { type: "Lowercase" },
        ],
      },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          {
            type: "Split",
            pattern: {
              Regex: `'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^${whiteSpace}\\p{L}\\p{N}]+`,
            },
            behavior: "Removed",
            invert: true,
          },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      post_processor: {
        type: "RobertaProcessing",
        sep: [eos.content, eos.id],
        cls: [bos.content, bos.id],
        trim_offsets: false,
        add_prefix_space: false,
      },
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: unk,
        continuing_subword_prefix: "",
        end_of_word_suffix: "</w>",
        fuse_unk: false,
        vocab,
        merges: mergeRules(files.merges),
      },
    },
    config,
  );
  const modelMaxLength = modelMaxLengthOf(config);
  return {
    modelMaxLength,
    encode(text: string, { maxLength = modelMaxLength }: EncodeOptions = {}): EncodedText {
      // The reference lower-cases one character at a time; JavaScript would turn a capital sigma
      // at a word's end into its final form. It is the only character where the two differ.
      const input = text.toWellFormed().replaceAll("Σ", "σ");
      const content = model.encode(input, { add_special_tokens: false }).ids;
      const layout = { prefix: [bos.id], suffix: [eos.id], pad: pad.id };
      return fitToLength(content, layout, maxLength, (ids) => model.decode(ids));
    },
  };
}

interface SpecialToken {
  readonly content: string;
  readonly id: number;
}

function required(name: string, files: ClipTokenizerFiles): SpecialToken {
  const content = tokenOf(name, files.config, files.specialTokensMap);
  if (content === undefined) throw new TypeError(`tokenizer_config.json has no ${name}`);
  const added = Object.entries(addedTokensDecoder(files.config))
    .find(([, token]) => token.content === content);
  const id = added ? Number(added[0]) : files.vocab[content];
  if (id === undefined) throw new Error(`vocab.json has no ${name} ${JSON.stringify(content)}`);
  return { content, id };
}

function addedTokensDecoder(config: TokenizerConfig): Record<string, { content?: unknown }> {
  return (config.added_tokens_decoder ?? {}) as Record<string, { content?: unknown }>;
}

/**
 * `added_tokens_decoder` in the form of tokenizer.json. Where the config has none (older saves),
 * the special tokens themselves are added tokens, as transformers does it.
 */
function addedTokens(files: ClipTokenizerFiles): object[] {
  const defaults = {
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  };
  const decoder = Object.entries(addedTokensDecoder(files.config));
  if (decoder.length > 0) {
    return decoder
      .map(([id, token]) => ({ ...defaults, ...token, id: Number(id) }))
      .sort((a, b) => a.id - b.id);
  }
  const tokens = ["bos_token", "eos_token", "pad_token"].map((name) => required(name, files));
  const unique = new Map(tokens.map((token) => [token.content, token]));
  return [...unique.values()].map((token) => ({ ...defaults, ...token }));
}

function mergeRules(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines[0]?.startsWith("#version")) lines.shift();
  return lines.filter((line) => line.split(" ").length === 2);
}
