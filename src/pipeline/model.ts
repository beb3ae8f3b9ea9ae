/**
 * A model directory in the diffusers layout, read and checked: which networks it holds, their
 * configs, tokenizers and checkpoints. Nothing here touches the GPU.
 */
import type { z } from "zod";
import {
  clipTextConfig,
  ConfigError,
  type ModelIndex,
  modelIndex,
  parseConfig,
  type T5Config,
  t5Config,
  transformerConfig,
  vaeConfig,
} from "../models/configs.ts";
import { createScheduler, type Scheduler } from "../schedulers/mod.ts";
import type { PromptTokens } from "../text_encoders/prompt_embeds.ts";
import { createClipTokenizer } from "../tokenizers/clip.ts";
import { createT5Tokenizer } from "../tokenizers/t5.ts";
import type { EncodedText, Tokenizer } from "../tokenizers/tokenizer.ts";
import type { FileSource } from "../weights/source.ts";
import type { ModelInfo, TruncatedPrompt } from "./types.ts";

/** diffusers' defaults of StableDiffusion3Pipeline. */
const pipelineDefaults = { numInferenceSteps: 28, guidanceScale: 7, maxSequenceLength: 256 };
/** `max_sequence_length` of diffusers' check_inputs. */
const longestSequence = 512;

export interface Tokenizers {
  readonly clipL: Tokenizer;
  readonly clipG: Tokenizer;
  readonly t5: Tokenizer | undefined;
}

export interface ModelDescription {
  readonly source: FileSource;
  readonly index: ModelIndex;
  readonly info: ModelInfo;
  readonly clipL: z.infer<typeof clipTextConfig>;
  readonly clipG: z.infer<typeof clipTextConfig>;
  /** Absent where model_index.json says so: zeros then stand for T5's part of the context. */
  readonly t5: T5Config | undefined;
  readonly transformer: z.infer<typeof transformerConfig>;
  readonly vae: z.infer<typeof vaeConfig>;
  readonly tokenizers: Tokenizers;
  /** The template that every request clones. */
  readonly scheduler: Scheduler;
}

/** The classes that this implementation has, by component; model_index.json must name them. */
const classes: Readonly<Record<string, readonly string[]>> = {
  text_encoder: ["CLIPTextModelWithProjection", "ORTModelForFeatureExtraction"],
  text_encoder_2: ["CLIPTextModelWithProjection", "ORTModelForFeatureExtraction"],
  text_encoder_3: ["T5EncoderModel", "ORTModelForFeatureExtraction"],
  tokenizer: ["CLIPTokenizer", "CLIPTokenizerFast"],
  tokenizer_2: ["CLIPTokenizer", "CLIPTokenizerFast"],
  tokenizer_3: ["T5TokenizerFast", "T5Tokenizer"],
  transformer: ["SD3Transformer2DModel"],
  vae: ["AutoencoderKL"],
};

/**
 * Reads everything but the weights.
 *
 * @throws ConfigError naming the file and every problem in it
 * @throws FileNotFoundError
 */
export async function describeModel(source: FileSource): Promise<ModelDescription> {
  const index = parseConfig(modelIndex, await source.text("model_index.json"), "model_index.json");
  checkClasses(index);
  const config = async <T extends z.ZodType>(schema: T, folder: string): Promise<z.infer<T>> => {
    const path = `${folder}/config.json`;
    return parseConfig(schema, await source.text(path), path);
  };
  const transformer = await config(transformerConfig, "transformer");
  const vae = await config(vaeConfig, "vae");
  const clipL = await config(clipTextConfig, "text_encoder");
  const clipG = await config(clipTextConfig, "text_encoder_2");
  const hasT5 = index.text_encoder_3?.[1] != null;
  const t5 = hasT5 ? await config(t5Config, "text_encoder_3") : undefined;
  const tokenizers: Tokenizers = {
    clipL: await clipTokenizer(source, "tokenizer"),
    clipG: await clipTokenizer(source, "tokenizer_2"),
    t5: hasT5 ? await t5Tokenizer(source, "tokenizer_3") : undefined,
  };
  checkFit({ transformer, clipL, clipG, t5, tokenizers, vae });
  const path = "scheduler/scheduler_config.json";
  const scheduler = createScheduler(JSON.parse(await source.text(path)));
  const vaeScale = 2 ** (vae.block_out_channels.length - 1);
  const sizeMultiple = vaeScale * transformer.patch_size;
  const t5Longest = Math.min(tokenizers.t5?.modelMaxLength ?? longestSequence, longestSequence);
  const defaultSize = transformer.sample_size * vaeScale;
  return {
    source,
    index,
    clipL,
    clipG,
    t5,
    transformer,
    vae,
    tokenizers,
    scheduler,
    info: {
      name: source.name.split(/[/\\]/).filter(Boolean).at(-1) ?? source.name,
      type: index._class_name,
      defaults: {
        ...pipelineDefaults,
        height: defaultSize,
        width: defaultSize,
        maxSequenceLength: Math.min(pipelineDefaults.maxSequenceLength, t5Longest),
      },
      sizeMultiple,
      maxSize: transformer.pos_embed_max_size * sizeMultiple,
      numLayers: transformer.num_layers,
      maxSequenceLength: t5Longest,
    },
  };
}

function checkClasses(index: ModelIndex): void {
  const problems = Object.entries(classes).flatMap(([name, known]) => {
    const entry = index[name as keyof ModelIndex] as ModelIndex["vae"];
    const found = entry?.[1];
    if (name.endsWith("_3") && found == null) return [];
    return found && known.includes(found)
      ? []
      : [`${name}: ${found ?? "nothing"}, expected ${known.join(" or ")}`];
  });
  if (problems.length) {
    throw new ConfigError(`model_index.json cannot be used:\n  ${problems.join("\n  ")}`);
  }
}

/** Widths that must agree between the components' own configs. */
function checkFit(
  { transformer, clipL, clipG, t5, tokenizers, vae }: Pick<
    ModelDescription,
    "transformer" | "clipL" | "clipG" | "t5" | "tokenizers" | "vae"
  >,
): void {
  const problems: string[] = [];
  const equal = (what: string, actual: number, wanted: number) => {
    if (actual !== wanted) problems.push(`${what} is ${actual}, expected ${wanted}`);
  };
  equal("vae latent_channels", vae.latent_channels, transformer.in_channels);
  equal("transformer out_channels", transformer.out_channels, transformer.in_channels);
  if (t5) equal("text_encoder_3 d_model", t5.d_model, transformer.joint_attention_dim);
  equal(
    "pooled_projection_dim",
    transformer.pooled_projection_dim,
    clipL.projection_dim + clipG.projection_dim,
  );
  if (clipL.hidden_size + clipG.hidden_size > transformer.joint_attention_dim) {
    problems.push("the CLIP encoders' hidden_size together exceed joint_attention_dim");
  }
  equal(
    "tokenizer_2 model_max_length",
    tokenizers.clipG.modelMaxLength,
    tokenizers.clipL.modelMaxLength,
  );
  for (const [name, clip] of [["text_encoder", clipL], ["text_encoder_2", clipG]] as const) {
    if (tokenizers.clipL.modelMaxLength > clip.max_position_embeddings) {
      problems.push(
        `${name} has ${clip.max_position_embeddings} positions for ` +
          `${tokenizers.clipL.modelMaxLength} tokens`,
      );
    }
    if (clip.hidden_size % clip.num_attention_heads !== 0) {
      problems.push(`${name} hidden_size is not a multiple of num_attention_heads`);
    }
  }
  if (problems.length) {
    throw new ConfigError(`The model's components do not fit:\n  ${problems.join("\n  ")}`);
  }
}

async function optionalJson(source: FileSource, path: string) {
  return await source.has(path) ? JSON.parse(await source.text(path)) : undefined;
}

async function clipTokenizer(source: FileSource, folder: string): Promise<Tokenizer> {
  return createClipTokenizer({
    vocab: JSON.parse(await source.text(`${folder}/vocab.json`)),
    merges: await source.text(`${folder}/merges.txt`),
    config: JSON.parse(await source.text(`${folder}/tokenizer_config.json`)),
    specialTokensMap: await optionalJson(source, `${folder}/special_tokens_map.json`),
  });
}

async function t5Tokenizer(source: FileSource, folder: string): Promise<Tokenizer> {
  return createT5Tokenizer({
    tokenizer: await source.text(`${folder}/tokenizer.json`),
    config: JSON.parse(await source.text(`${folder}/tokenizer_config.json`)),
    specialTokensMap: await optionalJson(source, `${folder}/special_tokens_map.json`),
  });
}

/** One prompt for each encoder: CLIP-L, CLIP-G, T5. */
export type PromptTriple = readonly [string, string, string];

export interface TokenizedPrompt {
  readonly tokens: PromptTokens;
  readonly truncated: readonly Omit<TruncatedPrompt, "field">[];
}

/**
 * Token ids of a prompt for the three encoders, and what did not fit. Asynchronous, since in a
 * request's view the tokenizers stand behind a lock.
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
export function t5Length(model: ModelDescription, maxSequenceLength: number): number {
  return model.t5 ? maxSequenceLength : model.tokenizers.clipL.modelMaxLength;
}
