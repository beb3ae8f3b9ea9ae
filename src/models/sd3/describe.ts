/**
 * A Stable Diffusion 3 model in the diffusers layout, read and checked: which networks it holds,
 * their configs, tokenizers and scheduler. Nothing here touches the GPU.
 */
import { createScheduler, type Scheduler } from "../../schedulers/mod.ts";
import { FileNotFoundError } from "../../weights/errors.ts";
import type { FileSource } from "../../weights/source.ts";
import { ConfigError } from "../errors.ts";
import type { ModelInfo } from "../../requests/model_info.ts";
import { type ModelIndex, parseConfig, vaeScale } from "./configs.ts";
import { type Network, type NetworkConfigs, networks, networksByFolder } from "./networks.ts";
import { tokenizerList, type Tokenizers } from "./tokenize.ts";
import { built, type FoundTokenizer, readJson } from "./tokenizer_files.ts";
import { recognizeVariant } from "./variants.ts";

/** diffusers' defaults of StableDiffusion3Pipeline. */
const pipelineDefaults = { numInferenceSteps: 28, guidanceScale: 7 };
const defaultSequence = 256;
/** `max_sequence_length` of diffusers' check_inputs. */
const longestSequence = 512;

export interface ModelDescription {
  readonly source: FileSource;
  readonly info: ModelInfo;
  /** T5's is absent where model_index.json says so: zeros then stand for its part of the context. */
  readonly configs: NetworkConfigs;
  readonly tokenizers: Tokenizers;
  /** Makes each request's steps, and stays as it is. */
  readonly scheduler: Scheduler;
}

/**
 * Reads everything but the weights.
 *
 * @throws {ConfigError} naming every file that is absent or cannot be used, and every problem in it
 */
export async function describeStableDiffusion3(
  source: FileSource,
  index: ModelIndex,
): Promise<ModelDescription> {
  const problems: string[] = [];
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
  const checkClass = (entry: string, classes: readonly string[]) => {
    const found = classOf(index, entry);
    if (found !== undefined && classes.includes(found)) return;
    problems.push(
      `model_index.json: ${entry} is ${found ?? "absent"}, wanted ${classes.join(" or ")}`,
    );
  };
  const configs: Partial<Record<Network, unknown>> = {};
  for (const [folder, rows] of networksByFolder) {
    const { classes, config, optional } = rows[0]![1];
    const isNamed = [folder, ...rows.map(([, { name }]) => name)].some((n) => classOf(index, n));
    if (optional && !isNamed) continue;
    // Optimum's exports name the autoencoder's two halves instead of the whole.
    if (classOf(index, folder) !== undefined || !isNamed) checkClass(folder, classes);
    const path = await configPath(source, folder);
    const parsed = await attempt(async () => parseConfig(config, await source.text(path), path));
    for (const [network] of rows) configs[network] = parsed;
  }
  const found = new Map<keyof Tokenizers, FoundTokenizer>();
  for (const [encoder, { folder, classes, read }] of tokenizerList) {
    if (!(encoder in configs)) continue;
    checkClass(folder, classes);
    const tokenizer = await attempt(() => read(source, folder));
    if (tokenizer) found.set(encoder, tokenizer);
  }
  const scheduler = await attempt(() => readScheduler(source));
  if (problems.length || !scheduler) {
    throw new ConfigError(`${source.name} cannot be used:\n  ${problems.join("\n  ")}`);
  }
  // Nothing is absent or unread now, but what may be absent.
  const known = configs as NetworkConfigs;
  checkFit(known, found);
  const made = Object.fromEntries(
    [...found].map(([encoder, { tokenizer }]) => [encoder, tokenizer]),
  );
  const model = {
    source,
    configs: known,
    tokenizers: made as unknown as Tokenizers,
    scheduler,
  };
  return { ...model, info: modelInfo(model, index) };
}

/** `class` of an entry `[library, class]` of model_index.json, which is `[null, null]` where absent. */
function classOf(index: ModelIndex, entry: string): string | undefined {
  const value = index[entry];
  return Array.isArray(value) && typeof value[1] === "string" ? value[1] : undefined;
}

/** Where the config of a folder's networks lies: Optimum's exports keep it beside each graph. */
async function configPath(source: FileSource, folder: string): Promise<string> {
  for (const name of [folder, ...networksByFolder.get(folder)!.map(([, row]) => row.name)]) {
    if (await source.has(`${name}/config.json`)) return `${name}/config.json`;
  }
  return `${folder}/config.json`;
}

function modelInfo(
  { source, configs, tokenizers, scheduler }: Omit<ModelDescription, "info">,
  index: ModelIndex,
): ModelInfo {
  const { transformer, decoder } = configs;
  const sizeMultiple = vaeScale(decoder) * transformer.patch_size;
  const maxSize = transformer.pos_embed_max_size * sizeMultiple;
  const longest = Math.min(tokenizers.t5?.modelMaxLength ?? longestSequence, longestSequence);
  const ownSize = Math.floor(transformer.sample_size / transformer.patch_size) * sizeMultiple;
  const size = Math.min(Math.max(ownSize, sizeMultiple), maxSize);
  const name = nameOf(source);
  const variant = recognizeVariant({ name, transformer, shift: scheduler.config.shift });
  return {
    name,
    type: index._class_name,
    variant: variant?.name,
    defaults: {
      ...variant?.defaults ?? pipelineDefaults,
      height: size,
      width: size,
      maxSequenceLength: Math.min(defaultSequence, longest),
    },
    recommended: variant?.recommended,
    sizeMultiple,
    maxSize,
    numLayers: transformer.num_layers,
    clipLayers: Math.min(configs.clipL.num_hidden_layers, configs.clipG.num_hidden_layers),
    maxSequenceLength: longest,
  };
}

/** The last part of a path, but of a download cache's the repository: its folders are revisions. */
function nameOf({ name }: FileSource): string {
  const parts = name.split(/[/\\]/).filter(Boolean);
  const [repository, snapshots] = parts.slice(-3);
  return snapshots === "snapshots" && repository?.startsWith("models--")
    ? repository.split("--").at(-1)!
    : parts.at(-1) ?? name;
}

/** Widths that must agree between the components' own configs. */
function checkFit(
  { clipL, clipG, t5, transformer, decoder: vae }: NetworkConfigs,
  found: ReadonlyMap<keyof Tokenizers, FoundTokenizer>,
): void {
  const problems: string[] = [];
  const equal = (what: string, actual: number, wanted: number) => {
    if (actual !== wanted) problems.push(`${what} is ${actual}, wanted ${wanted}`);
  };
  const encoders = { clipL, clipG, t5 };
  for (const [encoder, { largestId }] of found) {
    const { vocab_size: vocabulary } = encoders[encoder]!;
    if (largestId >= vocabulary) {
      problems.push(
        `${
          networks[encoder].folder
        } has vocab_size ${vocabulary}, but its tokenizer gives ids up ` +
          `to ${largestId}`,
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
  const lengthOf = (encoder: keyof Tokenizers) => found.get(encoder)!.tokenizer.modelMaxLength;
  equal("tokenizer_2 model_max_length", lengthOf("clipG"), lengthOf("clipL"));
  for (const [name, clip] of [["text_encoder", clipL], ["text_encoder_2", clipG]] as const) {
    if (lengthOf("clipL") > clip.max_position_embeddings) {
      problems.push(
        `${name} has ${clip.max_position_embeddings} positions for ${lengthOf("clipL")} tokens`,
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
