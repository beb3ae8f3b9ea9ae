/**
 * The networks of the Stable Diffusion 3 family, one row each. Describing, loading, planning,
 * disposing, both backends and the exporter loop over these rows.
 */
import type { z } from "zod";
import type { DeclaredWeights } from "../../weights/declared.ts";
import type {
  ClipComponent,
  Components,
  DecoderComponent,
  EncoderComponent,
  T5Component,
  TransformerComponent,
} from "./components.ts";
import {
  type ClipTextConfig,
  clipTextConfig,
  type T5Config,
  t5Config,
  type TransformerConfig,
  transformerConfig,
  type VaeConfig,
  vaeConfig,
} from "./configs.ts";
import { ClipTextModel } from "./text_encoders/clip.ts";
import { T5Encoder } from "./text_encoders/t5.ts";
import { MMDiT } from "./transformer/mmdit.ts";
import { VaeDecoder } from "./vae/decoder.ts";
import { VaeEncoder } from "./vae/encoder.ts";

/** What kinds of networks there are: a backend has one way to run each. */
export interface NetworkKinds {
  clip: { config: ClipTextConfig; network: ClipTextModel; component: ClipComponent };
  t5: { config: T5Config; network: T5Encoder; component: T5Component };
  transformer: { config: TransformerConfig; network: MMDiT; component: TransformerComponent };
  decoder: { config: VaeConfig; network: VaeDecoder; component: DecoderComponent };
  encoder: { config: VaeConfig; network: VaeEncoder; component: EncoderComponent };
}
export type NetworkKind = keyof NetworkKinds;

export interface NetworkRow<Kind extends NetworkKind = NetworkKind> {
  readonly kind: Kind;
  /** Of this network alone: Optimum's folder of its graph, and its name in reports. */
  readonly name: string;
  /** Its entry in model_index.json, and diffusers' folder of its config and weights. */
  readonly folder: string;
  /** Which of the two reference libraries it is of. */
  readonly library: "transformers" | "diffusers";
  /** Names of its class that model_index.json may give. */
  readonly classes: readonly string[];
  readonly config: z.ZodType<NetworkKinds[Kind]["config"]>;
  /** Declares its weights and builds it on our own kernels. */
  declare(
    config: NetworkKinds[Kind]["config"],
    weights: DeclaredWeights,
  ): NetworkKinds[Kind]["network"];
  /** Its tensors, where another network's lie in the same files. */
  readonly owns?: RegExp;
  /** A model may lack it. */
  readonly optional?: true;
  /** Loaded only where it is asked for. */
  readonly onDemand?: true;
  /** Whether its large matrices may become blocks of integers. */
  readonly quantizable: boolean;
}

const onnxModel = "OnnxRuntimeModel";

const clip = {
  kind: "clip",
  library: "transformers",
  classes: ["CLIPTextModelWithProjection", "ORTTextEncoder", onnxModel],
  config: clipTextConfig,
  declare: (config: ClipTextConfig, weights: DeclaredWeights) => new ClipTextModel(config, weights),
  quantizable: true,
} as const;

/** Mostly convolutions, and what they lose is seen in the image at once. */
const vae = {
  folder: "vae",
  library: "diffusers",
  classes: ["AutoencoderKL", "ORTVae", onnxModel],
  config: vaeConfig,
  quantizable: false,
} as const;

export const networks = {
  clipL: { ...clip, name: "text_encoder", folder: "text_encoder" },
  clipG: { ...clip, name: "text_encoder_2", folder: "text_encoder_2" },
  t5: {
    kind: "t5",
    name: "text_encoder_3",
    folder: "text_encoder_3",
    library: "transformers",
    classes: ["T5EncoderModel", "ORTTextEncoder", onnxModel],
    config: t5Config,
    declare: (config, weights) => new T5Encoder(config, weights),
    optional: true,
    quantizable: true,
  },
  transformer: {
    kind: "transformer",
    name: "transformer",
    folder: "transformer",
    library: "diffusers",
    classes: ["SD3Transformer2DModel", "ORTTransformer", onnxModel],
    config: transformerConfig,
    declare: (config, weights) => new MMDiT(config, weights),
    quantizable: true,
  },
  decoder: {
    ...vae,
    kind: "decoder",
    name: "vae_decoder",
    declare: (config, weights) => new VaeDecoder(config, weights),
    owns: /^(decoder|post_quant_conv)\./,
  },
  encoder: {
    ...vae,
    kind: "encoder",
    name: "vae_encoder",
    declare: (config, weights) => new VaeEncoder(config, weights),
    owns: /^(encoder|quant_conv)\./,
    onDemand: true,
  },
} satisfies Record<keyof Components, { [Kind in NetworkKind]: NetworkRow<Kind> }[NetworkKind]>;

/** A network by the component that it is in a pipeline. */
export type Network = keyof typeof networks;

/** The networks' own config.json files; the VAE's two have one. */
export type NetworkConfigs = {
  readonly [N in Network]:
    | NetworkKinds[(typeof networks)[N]["kind"]]["config"]
    | ((typeof networks)[N] extends { optional: true } ? undefined : never);
};

export const networkList = Object.entries(networks) as readonly [Network, NetworkRow][];

/** The rows whose config and weights lie in each folder. */
export const networksByFolder = Map.groupBy(networkList, ([, { folder }]) => folder);
