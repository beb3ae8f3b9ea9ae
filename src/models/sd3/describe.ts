/**
 * A model directory in the diffusers layout, read and checked: which networks it holds, their
 * configs, tokenizers and checkpoints. Nothing here touches the GPU.
 */
import type { z } from "zod";
import {
  clipTextConfig,
  type ModelIndex,
  modelIndex,
  parseConfig,
  type T5Config,
  t5Config,
  transformerConfig,
  vaeConfig,
} from "./configs.ts";
import {
  chooseEngines,
  type EngineChoice,
  type EngineKind,
  inspectDirectory,
  type Network,
} from "../../backends/onnx/directory.ts";
import { createScheduler, type Scheduler } from "../../schedulers/mod.ts";
import type { PromptTokens } from "./embed_prompt.ts";
import type { EncodedText, Tokenizer } from "../../tokenizers/tokenizer.ts";
import { type FileSource } from "../../weights/source.ts";
import { built, clipTokenizer, readJson, t5Tokenizer } from "./model_tokenizers.ts";
import type { ModelInfo } from "../../requests/model_info.ts";
import type { TruncatedPrompt } from "../../engine/types.ts";
import { ConfigError } from "../errors.ts";
import { FileNotFoundError } from "../../weights/errors.ts";

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
  /** Which engine runs each network. */
  readonly engines: ReadonlyMap<Network, EngineKind>;
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
  text_encoder: ["CLIPTextModelWithProjection", "ORTTextEncoder", "OnnxRuntimeModel"],
  text_encoder_2: ["CLIPTextModelWithProjection", "ORTTextEncoder", "OnnxRuntimeModel"],
  text_encoder_3: ["T5EncoderModel", "ORTTextEncoder", "OnnxRuntimeModel"],
  tokenizer: ["CLIPTokenizer", "CLIPTokenizerFast"],
  tokenizer_2: ["CLIPTokenizer", "CLIPTokenizerFast"],
  tokenizer_3: ["T5TokenizerFast", "T5Tokenizer"],
  transformer: ["SD3Transformer2DModel", "ORTTransformer", "OnnxRuntimeModel"],
  vae: ["AutoencoderKL", "ORTVae", "OnnxRuntimeModel"],
};

/**
 * Reads everything but the weights.
 *
 * @param choice of the engines that run the networks
 * @throws ConfigError naming every file that is absent or cannot be used, and every problem in it
 */
export async function describeModel(
  source: FileSource,
  choice: EngineChoice = "auto",
): Promise<ModelDescription> {
  if (!await source.has("model_index.json")) {
    throw new ConfigError(
      `${source.name} is not a model in the diffusers layout: it has no model_index.json`,
    );
  }
  const index = parseConfig(modelIndex, await source.text("model_index.json"), "model_index.json");
  const problems = classProblems(index);
  /** What `read` returns; nothing, and the reason noted, where the files are at fault. */
  const attempt = async <T>(read: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      if (error instanceof FileNotFoundError) problems.push(`${error.path} is absent`);
      else if (error instanceof ConfigError) problems.push(error.message.replaceAll("\n", "\n  "));
      else throw error;
      return undefined;
    }
  };
  const config = <T extends z.ZodType>(schema: T, folder: string) =>
    attempt(async (): Promise<z.infer<T>> => {
      const path = `${folder}/config.json`;
      return parseConfig(schema, await source.text(path), path);
    });
  const transformer = await config(transformerConfig, "transformer");
  // Optimum's exports keep the autoencoder's config beside its decoder.
  const vaeFolder = await source.has("vae/config.json") ? "vae" : "vae_decoder";
  const hasVae = vaeFolder === "vae" || await source.has("vae_decoder/config.json");
  const vae = await config(vaeConfig, hasVae ? vaeFolder : "vae");
  const clipL = await config(clipTextConfig, "text_encoder");
  const clipG = await config(clipTextConfig, "text_encoder_2");
  const hasT5 = index.text_encoder_3?.[1] != null;
  const t5 = hasT5 ? await config(t5Config, "text_encoder_3") : undefined;
  const clipLTokens = await attempt(() => clipTokenizer(source, "tokenizer"));
  const clipGTokens = await attempt(() => clipTokenizer(source, "tokenizer_2"));
  const t5Tokens = hasT5 ? await attempt(() => t5Tokenizer(source, "tokenizer_3")) : undefined;
  const scheduler = await attempt(() => readScheduler(source));
  if (
    problems.length || !transformer || !vae || !clipL || !clipG || !clipLTokens || !clipGTokens ||
    !scheduler
  ) {
    throw new ConfigError(`${source.name} cannot be used:\n  ${problems.join("\n  ")}`);
  }
  const tokenizers: Tokenizers = {
    clipL: clipLTokens.tokenizer,
    clipG: clipGTokens.tokenizer,
    t5: t5Tokens?.tokenizer,
  };
  const largestIds = [
    ["text_encoder", clipL.vocab_size, clipLTokens.largestId],
    ["text_encoder_2", clipG.vocab_size, clipGTokens.largestId],
    ["text_encoder_3", t5?.vocab_size ?? 1, t5Tokens?.largestId ?? 0],
  ] as const;
  checkFit({ transformer, clipL, clipG, t5, tokenizers, vae, largestIds });
  const vaeScale = 2 ** (vae.block_out_channels.length - 1);
  const sizeMultiple = vaeScale * transformer.patch_size;
  const maxSize = transformer.pos_embed_max_size * sizeMultiple;
  const t5Longest = Math.min(tokenizers.t5?.modelMaxLength ?? longestSequence, longestSequence);
  const ownSize = Math.floor(transformer.sample_size / transformer.patch_size) * sizeMultiple;
  const defaultSize = Math.min(Math.max(ownSize, sizeMultiple), maxSize);
  const engines = chooseEngines(await inspectDirectory(source), choice);
  return {
    source,
    index,
    engines,
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
      maxSize,
      numLayers: transformer.num_layers,
      skipsLayers: engines.get("transformer") === "wgsl",
      maxSequenceLength: t5Longest,
    },
  };
}

/** Components of model_index.json that are of classes that this implementation does not have. */
function classProblems(index: ModelIndex): string[] {
  return Object.entries(classes).flatMap(([name, known]) => {
    const entry = index[name as keyof ModelIndex] as ModelIndex["vae"];
    const found = entry?.[1];
    if (name.endsWith("_3") && found == null) return [];
    if (name === "vae" && found == null && index.vae_decoder?.[1] != null) return [];
    return found && known.includes(found)
      ? []
      : [`model_index.json: ${name} is ${found ?? "absent"}, expected ${known.join(" or ")}`];
  });
}

/** Widths that must agree between the components' own configs. */
function checkFit(
  { transformer, clipL, clipG, t5, tokenizers, vae, largestIds }:
    & Pick<
      ModelDescription,
      "transformer" | "clipL" | "clipG" | "t5" | "tokenizers" | "vae"
    >
    & {
      /** Each encoder's name, rows of its token table, and the largest id that it may be given. */
      readonly largestIds: readonly (readonly [string, number, number])[];
    },
): void {
  const problems: string[] = [];
  const equal = (what: string, actual: number, wanted: number) => {
    if (actual !== wanted) problems.push(`${what} is ${actual}, expected ${wanted}`);
  };
  for (const [name, vocabulary, largestId] of largestIds) {
    if (largestId >= vocabulary) {
      problems.push(
        `${name} has vocab_size ${vocabulary}, but its tokenizer gives ids up to ${largestId}`,
      );
    }
  }
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

async function readScheduler(source: FileSource): Promise<Scheduler> {
  const path = "scheduler/scheduler_config.json";
  const config = await readJson(source, path);
  return built(path, () => createScheduler(config));
}

/** One prompt for each encoder: CLIP-L, CLIP-G, T5. */
export type PromptTriple = readonly [string, string, string];

export interface TokenizedPrompt {
  readonly tokens: PromptTokens;
  readonly truncated: readonly Omit<TruncatedPrompt, "field">[];
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
export function t5Length(model: ModelDescription, maxSequenceLength: number): number {
  return model.t5 ? maxSequenceLength : model.tokenizers.clipL.modelMaxLength;
}
