/** Opens the ONNX graphs of a model as the pipeline's components. */
import type { Gpu } from "../../gpu/device.ts";
import type { Components } from "../../models/sd3/components.ts";
import type { ModelDescription } from "../../models/sd3/describe.ts";
import {
  type Network,
  type NetworkKind,
  type NetworkKinds,
  networks,
} from "../../models/sd3/networks.ts";
import { clipGraph } from "./clip.ts";
import { DryGraph } from "./dry_graph.ts";
import { readOnnxFiles, type ReadOptions } from "./files.ts";
import { type Graph, type GraphKind, OnnxGraph } from "./graph.ts";
import { t5Graph } from "./t5.ts";
import { transformerGraph } from "./transformer.ts";
import { decoderGraph } from "./vae_decoder.ts";
import { encoderGraph } from "./vae_encoder.ts";

export { runtimeFailed } from "./runtime.ts";

type Kinds = {
  readonly [Kind in NetworkKind]: GraphKind<
    NetworkKinds[Kind]["config"],
    NetworkKinds[Kind]["component"]
  >;
};

const kinds: Kinds = {
  clip: clipGraph,
  t5: t5Graph,
  transformer: transformerGraph,
  decoder: decoderGraph,
  encoder: encoderGraph,
};

/** What a described model says that the graphs are checked against. */
export type OnnxModel = Pick<ModelDescription, "source" | "configs">;

/** Makes the component of each network over the graph that `open` gives. */
async function assemble(
  model: OnnxModel,
  gpu: Gpu,
  wanted: Iterable<Network>,
  open: (name: string, kind: GraphKind, config: NetworkConfig) => Promise<Graph>,
): Promise<Partial<Components>> {
  const made: [Network, Components[Network]][] = [];
  try {
    for (const network of wanted) {
      const config = model.configs[network]!;
      const kind: GraphKind = kinds[networks[network].kind];
      const graph = await open(networks[network].name, kind, config);
      made.push([network, kind.make(gpu, config, graph) as Components[Network]]);
    }
  } catch (error) {
    for (const [, component] of made) component?.dispose();
    throw error;
  }
  return Object.fromEntries(made);
}

type NetworkConfig = NetworkKinds[NetworkKind]["config"];

/**
 * Opens the given networks, one after another: each graph is in host memory while it loads.
 * What was opened is freed if one fails.
 *
 * @throws {OnnxError} naming the graph and the node, input or output that does not fit
 */
export async function loadOnnx(
  model: OnnxModel,
  gpu: Gpu,
  wanted: Iterable<Network>,
  options: ReadOptions = {},
): Promise<Partial<Components>> {
  return await assemble(model, gpu, wanted, async (name, { ends }, config) => {
    options.signal?.throwIfAborted();
    return OnnxGraph.open(gpu, await readOnnxFiles(model.source, name, options), ends(config));
  });
}

/** Float16 weights of a float32 graph are widened while it loads. */
const widening = 2;

/**
 * The same components on a device for planning: they hold the memory that the graphs would take,
 * estimated from the files' sizes and the tensors' shapes.
 */
export async function layOutOnnx(
  model: OnnxModel,
  gpu: Gpu,
  wanted: Iterable<Network>,
): Promise<Partial<Components>> {
  const files = await model.source.list();
  return await assemble(model, gpu, wanted, async (name, { activations }, config) => {
    let bytes = 0;
    for (const file of files.filter((file) => file.startsWith(`${name}/model.onnx`))) {
      bytes += await model.source.size(file);
    }
    return new DryGraph(gpu, widening * bytes, (inputs) => activations(config, inputs));
  });
}
