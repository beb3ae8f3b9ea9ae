/**
 * Complete models in the diffusers layout with seeded random weights, written to a temporary folder.
 * Tokenizers are copied from the fixture.
 */
import { fileURLToPath } from "node:url";
import type { Weights } from "../reference/networks/layers.ts";
import * as base from "./configs.ts";
import { type MadeNetwork, makeNetwork, type StorageOptions } from "./make_network.ts";
import {
  type ClipConfig,
  clipShapes,
  type T5Config,
  t5Shapes,
  type TransformerConfig,
  transformerShapes,
  type VaeConfig,
  vaeShapes,
} from "./shapes.ts";

const fixture = fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url));

/** Where tokenizers are copied from: SD3_REAL_TOKENIZERS may name a real model's directory. */
const tokenizersFrom = Deno.env.get("SD3_REAL_TOKENIZERS") ?? fixture;

/** What the tokenizers ask of the text encoders' configs. */
async function vocabularies() {
  const json = async (file: string) =>
    JSON.parse(await Deno.readTextFile(`${tokenizersFrom}/${file}`));
  const tokens = await json("tokenizer/vocab.json");
  const pieces: unknown[] = (await json("tokenizer_3/tokenizer.json")).model.vocab;
  return {
    clip: {
      vocab_size: Object.keys(tokens).length,
      eos_token_id: tokens["<|endoftext|>"] as number,
      max_position_embeddings: (await json("tokenizer/tokenizer_config.json")).model_max_length + 6,
    },
    // T5's tables have spare rows; its sentinels follow the pieces.
    t5: { vocab_size: Math.ceil((pieces.length + 100) / 8) * 8 },
  };
}

export interface ModelOptions {
  readonly clipL?: Partial<ClipConfig>;
  readonly clipG?: Partial<ClipConfig>;
  /** null: no T5, and model_index.json says so. */
  readonly t5?: Partial<T5Config> | null;
  readonly transformer?: Partial<TransformerConfig>;
  readonly vae?: Partial<VaeConfig>;
  readonly scheduler?: Readonly<Record<string, unknown>>;
  readonly storage?: StorageOptions;
}

export type Folder = "text_encoder" | "text_encoder_2" | "text_encoder_3" | "transformer" | "vae";

export interface ModelConfigs {
  readonly clipL: ClipConfig;
  readonly clipG: ClipConfig;
  readonly t5: T5Config | null;
  readonly transformer: TransformerConfig;
  readonly vae: VaeConfig;
}

export interface MadeModel {
  readonly path: string;
  readonly configs: ModelConfigs;
  /** The values stored in a folder's weights. */
  weights(folder: Folder): Weights;
  remove(): Promise<void>;
}

/** Writes one model; widths that must agree between networks follow from the others by default. */
export async function makeModel(options: ModelOptions = {}): Promise<MadeModel> {
  const configs = resolve(options, await vocabularies());
  const path = await Deno.makeTempDir({ prefix: "foreign-model-" });
  const made = new Map<Folder, MadeNetwork>();
  const { storage = {} } = options;
  const write = async (file: string, content: unknown) => {
    const text = JSON.stringify(content, null, 2);
    await Deno.mkdir(`${path}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(`${path}/${file}`, text);
  };
  const network = async (folder: Folder, config: object, build: () => MadeNetwork) => {
    await write(`${folder}/config.json`, config);
    const { files } = made.set(folder, build()).get(folder)!;
    for (const [name, content] of Object.entries(files)) {
      const file = `${path}/${folder}/${name}`;
      if (typeof content === "string") await Deno.writeTextFile(file, content);
      else await Deno.writeFile(file, content);
    }
  };
  const text = { ...storage, stem: "model" } as const;
  const image = { ...storage, stem: "diffusion_pytorch_model" } as const;
  await network(
    "text_encoder",
    { architectures: ["CLIPTextModelWithProjection"], ...configs.clipL },
    () => makeNetwork(clipShapes(configs.clipL), { ...text, seed: 11 }),
  );
  await network(
    "text_encoder_2",
    { architectures: ["CLIPTextModelWithProjection"], ...configs.clipG },
    () => makeNetwork(clipShapes(configs.clipG), { ...text, seed: 12 }),
  );
  const { t5 } = configs;
  if (t5) {
    await network(
      "text_encoder_3",
      { architectures: ["T5EncoderModel"], ...t5 },
      () => makeNetwork(t5Shapes(t5), text),
    );
  }
  await network(
    "transformer",
    { _class_name: "SD3Transformer2DModel", ...configs.transformer },
    () => makeNetwork(transformerShapes(configs.transformer), image),
  );
  await network(
    "vae",
    { _class_name: "AutoencoderKL", act_fn: "silu", force_upcast: true, ...configs.vae },
    () => makeNetwork(vaeShapes(configs.vae), image),
  );
  const tokenizers = t5
    ? ["tokenizer", "tokenizer_2", "tokenizer_3"]
    : ["tokenizer", "tokenizer_2"];
  for (const folder of tokenizers) {
    await Deno.mkdir(`${path}/${folder}`);
    const from = `${tokenizersFrom}/${folder}`;
    for await (const { name } of Deno.readDir(from)) {
      await Deno.writeFile(`${path}/${folder}/${name}`, await Deno.readFile(`${from}/${name}`));
    }
  }
  await write("scheduler/scheduler_config.json", {
    _class_name: "FlowMatchEulerDiscreteScheduler",
    num_train_timesteps: 1000,
    shift: 3,
    ...options.scheduler,
  });
  await write("model_index.json", modelIndex(t5 !== null));
  return {
    path,
    configs,
    weights: (folder) => made.get(folder)!.weights,
    remove: () => Deno.remove(path, { recursive: true }),
  };
}

function resolve(
  options: ModelOptions,
  vocabulary: Awaited<ReturnType<typeof vocabularies>>,
): ModelConfigs {
  const clipL = { ...base.clip, ...vocabulary.clip, ...options.clipL };
  const clipG: ClipConfig = {
    ...base.clip,
    ...vocabulary.clip,
    hidden_size: 28,
    num_attention_heads: 2,
    num_hidden_layers: 3,
    hidden_act: "gelu",
    projection_dim: 20,
    ...options.clipG,
  };
  const vae = base.levels(options.vae?.block_out_channels ?? base.vae.block_out_channels, {
    ...options.vae,
  });
  const joint = options.transformer?.joint_attention_dim ??
    (options.t5 ? options.t5.d_model : undefined) ?? base.t5.d_model;
  const { attention_head_dim: width, num_attention_heads: count } = {
    ...base.transformer,
    ...options.transformer,
  };
  return {
    clipL,
    clipG,
    t5: options.t5 === null
      ? null
      : { ...base.t5, ...vocabulary.t5, d_model: joint, ...options.t5 },
    transformer: {
      ...base.transformer,
      in_channels: vae.latent_channels,
      out_channels: vae.latent_channels,
      joint_attention_dim: joint,
      caption_projection_dim: width * count,
      pooled_projection_dim: clipL.projection_dim + clipG.projection_dim,
      ...options.transformer,
    },
    vae,
  };
}

function modelIndex(hasT5: boolean): object {
  const clip = ["transformers", "CLIPTextModelWithProjection"];
  const tokenizer = ["transformers", "CLIPTokenizer"];
  return {
    _class_name: "StableDiffusion3Pipeline",
    _diffusers_version: "0.31.0",
    scheduler: ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    text_encoder: clip,
    text_encoder_2: clip,
    text_encoder_3: hasT5 ? ["transformers", "T5EncoderModel"] : [null, null],
    tokenizer,
    tokenizer_2: tokenizer,
    tokenizer_3: hasT5 ? ["transformers", "T5TokenizerFast"] : [null, null],
    transformer: ["diffusers", "SD3Transformer2DModel"],
    vae: ["diffusers", "AutoencoderKL"],
  };
}
