/** The networks of a Stable Diffusion 3 pipeline that can be exported: one entry each. */
import { z } from "zod";
import { buildClip, clipConfig } from "./clip.ts";
import { type ComputeType, GraphBuilder } from "./graph.ts";
import { buildT5, t5Config } from "./t5.ts";
import { buildTransformer, transformerConfig } from "./transformer.ts";
import { vaeConfig } from "./vae_blocks.ts";
import { buildVaeDecoder } from "./vae_decoder.ts";
import { buildVaeEncoder } from "./vae_encoder.ts";
import { ExportError, type TensorReader } from "./weights.ts";

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
  build(g: GraphBuilder, config: unknown): void;
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
  component("text_encoder", "text_encoder", TRANSFORMERS, /./, clipConfig, buildClip),
  component("text_encoder_2", "text_encoder_2", TRANSFORMERS, /./, clipConfig, buildClip),
  component("text_encoder_3", "text_encoder_3", TRANSFORMERS, /./, t5Config, buildT5),
];

function component<Config>(
  source: string,
  folder: string,
  stems: readonly string[],
  owns: RegExp,
  schema: z.ZodType<Config>,
  build: (g: GraphBuilder, config: Config) => void,
): ExportComponent {
  return {
    source,
    stems,
    folder,
    owns,
    build(g, config) {
      const parsed = schema.safeParse(config);
      if (!parsed.success) {
        throw new ExportError(`${source}/config.json:\n${z.prettifyError(parsed.error)}`);
      }
      build(g, parsed.data);
    },
  };
}

/**
 * The graph of one network.
 * @param config the parsed config.json
 * @throws {ExportError} where the config is not of this network or the checkpoint does not fit it
 */
export function buildComponent(
  component: ExportComponent,
  config: unknown,
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
