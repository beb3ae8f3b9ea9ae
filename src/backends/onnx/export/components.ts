/** The networks of a Stable Diffusion 3 pipeline that can be exported: one entry each. */
import type { z } from "zod";
import {
  clipTextConfig,
  parseConfig,
  t5Config,
  transformerConfig,
  vaeConfig,
} from "../../../models/sd3/configs.ts";
import { buildClip } from "./clip.ts";
import { type ComputeType, GraphBuilder } from "./graph.ts";
import { buildT5 } from "./t5.ts";
import { buildTransformer } from "./transformer.ts";
import { buildVaeDecoder } from "./vae_decoder.ts";
import { buildVaeEncoder } from "./vae_encoder.ts";
import { type TensorReader } from "./weights.ts";
import { ExportError } from "../errors.ts";

/** How one network is exported. */
export interface ExportComponent {
  /** Folder of the checkpoint in the diffusers layout. */
  readonly source: string;
  /** Names that the weights file may have there, without extension. */
  readonly stems: readonly string[];
  /** Folder of the ONNX graph in Optimum's layout. */
  readonly folder: string;
  /** Tensors of the checkpoint that belong to this network. */
  readonly owns: RegExp;
  /** @param config the text of config.json */
  build(g: GraphBuilder, config: string): void;
}

/** Buffers that old files carry and copies of a tied weight. */
const SUPERFLUOUS = /(^|\.)position_ids$|^encoder\.embed_tokens\.weight$/;

const DIFFUSERS = ["diffusion_pytorch_model"];
const TRANSFORMERS = ["model"];

export const EXPORT_COMPONENTS: readonly ExportComponent[] = [
  component("transformer", "transformer", DIFFUSERS, /./, transformerConfig, buildTransformer),
  component(
    "vae",
    "vae_decoder",
    DIFFUSERS,
    /^(decoder|post_quant_conv)\./,
    vaeConfig,
    buildVaeDecoder,
  ),
  component("vae", "vae_encoder", DIFFUSERS, /^(encoder|quant_conv)\./, vaeConfig, buildVaeEncoder),
  component("text_encoder", "text_encoder", TRANSFORMERS, /./, clipTextConfig, buildClip),
  component("text_encoder_2", "text_encoder_2", TRANSFORMERS, /./, clipTextConfig, buildClip),
  component("text_encoder_3", "text_encoder_3", TRANSFORMERS, /./, t5Config, buildT5),
];

function component<Schema extends z.ZodType>(
  source: string,
  folder: string,
  stems: readonly string[],
  owns: RegExp,
  schema: Schema,
  build: (g: GraphBuilder, config: z.infer<Schema>) => void,
): ExportComponent {
  return {
    source,
    stems,
    folder,
    owns,
    build: (g, config) => build(g, parseConfig(schema, config, `${source}/config.json`)),
  };
}

/**
 * The graph of one network.
 * @param config the text of config.json
 * @throws {ConfigError} where the config is not of this network
 * @throws {ExportError} where the checkpoint does not fit the config
 */
export function buildComponent(
  component: ExportComponent,
  config: string,
  reader: TensorReader,
  compute: ComputeType,
): GraphBuilder {
  const builder = new GraphBuilder(component.folder, reader, compute);
  component.build(builder, config);
  const left = builder.unused().filter((key) => component.owns.test(key) && !SUPERFLUOUS.test(key));
  if (left.length > 0) {
    const shown = left.slice(0, 5).join(", ");
    throw new ExportError(
      `${component.source}: ${left.length} tensors have no place in the network that config.json ` +
        `describes: ${shown}${left.length > 5 ? ", ..." : ""}`,
    );
  }
  return builder;
}
