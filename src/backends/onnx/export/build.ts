/** How each kind of network becomes an ONNX graph, and the graph of one. */
import { parseConfig } from "../../../models/sd3/configs.ts";
import type { NetworkKind, NetworkKinds, NetworkRow } from "../../../models/sd3/networks.ts";
import { buildClip } from "./clip.ts";
import { type ComputeType, GraphBuilder } from "./graph.ts";
import { buildT5 } from "./t5.ts";
import { buildTransformer } from "./transformer.ts";
import { buildVaeDecoder } from "./vae_decoder.ts";
import { buildVaeEncoder } from "./vae_encoder.ts";
import { ExportError } from "../errors.ts";
import type { Checkpoint } from "../../../weights/checkpoint.ts";

interface Builder<Kind extends NetworkKind = NetworkKind> {
  build(g: GraphBuilder, config: NetworkKinds[Kind]["config"]): void;
}

const builders: { readonly [Kind in NetworkKind]: Builder<Kind> } = {
  clip: { build: buildClip },
  t5: { build: buildT5 },
  transformer: { build: buildTransformer },
  decoder: { build: buildVaeDecoder },
  encoder: { build: buildVaeEncoder },
};

/** Buffers that old files carry and copies of a tied weight. */
const superfluous = /(^|\.)position_ids$|^encoder\.embed_tokens\.weight$/;

/**
 * The graph of one network.
 * @param config the text of config.json
 * @throws {ConfigError} where the config is not of this network
 * @throws {ExportError} where the checkpoint does not fit the config
 */
export function buildGraph(
  { name, folder, kind, config: schema, owns }: NetworkRow,
  config: string,
  checkpoint: Checkpoint,
  compute: ComputeType,
): GraphBuilder {
  const graph = new GraphBuilder(name, checkpoint, compute);
  const builder: Builder = builders[kind];
  builder.build(graph, parseConfig(schema, config, `${folder}/config.json`));
  const left = graph.unused().filter((key) => (owns?.test(key) ?? true) && !superfluous.test(key));
  if (left.length > 0) {
    const shown = left.slice(0, 5).join(", ");
    throw new ExportError(
      `${folder}: ${left.length} tensors have no place in the network that config.json ` +
        `describes: ${shown}${left.length > 5 ? ", ..." : ""}`,
    );
  }
  return graph;
}
