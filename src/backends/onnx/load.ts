/** Opens the ONNX graphs of a model as the pipeline's components. */
import type { Gpu } from "../../gpu/device.ts";
import type {
  ClipComponent,
  DecoderComponent,
  EncoderComponent,
  T5Component,
  TransformerComponent,
} from "../../models/sd3/components.ts";
import type {
  ClipTextConfig,
  T5Config,
  TransformerConfig,
  VaeConfig,
} from "../../models/sd3/configs.ts";
import type { FileSource } from "../../weights/source.ts";
import { clipActivations, OnnxClip } from "./clip.ts";
import type { Network } from "./directory.ts";
import { DryGraph } from "./dry_graph.ts";
import type { GraphInput } from "./graph.ts";
import { type OnnxFiles, readOnnxFiles, type ReadOptions } from "./files.ts";
import { OnnxT5, t5Activations } from "./t5.ts";
import { OnnxTransformer, transformerActivations } from "./transformer.ts";
import { decoderActivations, OnnxDecoder } from "./vae_decoder.ts";
import { encoderActivations, OnnxEncoder } from "./vae_encoder.ts";

export { runtimeFailed } from "./runtime.ts";

/** What a described model says that the graphs are checked against. */
export interface OnnxModel {
  readonly source: FileSource;
  readonly clipL: ClipTextConfig;
  readonly clipG: ClipTextConfig;
  readonly t5: T5Config | undefined;
  readonly transformer: TransformerConfig;
  readonly vae: VaeConfig;
}

/** Those of a pipeline's components that were asked for. */
export interface OnnxComponents {
  clipL?: ClipComponent;
  clipG?: ClipComponent;
  t5?: T5Component;
  transformer?: TransformerComponent;
  decoder?: DecoderComponent;
  encoder?: EncoderComponent;
}

/**
 * Opens the given networks, one after another: each graph is in host memory while it loads.
 * What was opened is freed if one fails.
 *
 * @throws {OnnxError} naming the graph and the node, input or output that does not fit
 */
export async function loadOnnx(
  model: OnnxModel,
  gpu: Gpu,
  networks: Iterable<Network>,
  options: ReadOptions = {},
): Promise<OnnxComponents> {
  const wanted = new Set(networks);
  const components: OnnxComponents = {};
  const open = async <T>(network: Network, make: (files: OnnxFiles) => Promise<T>) => {
    options.signal?.throwIfAborted();
    return await make(await readOnnxFiles(model.source, network, options));
  };
  const { clipL, clipG, t5, transformer, vae } = model;
  try {
    if (wanted.has("text_encoder")) {
      components.clipL = await open("text_encoder", (files) => OnnxClip.open(gpu, clipL, files));
    }
    if (wanted.has("text_encoder_2")) {
      components.clipG = await open("text_encoder_2", (files) => OnnxClip.open(gpu, clipG, files));
    }
    if (wanted.has("text_encoder_3") && t5) {
      components.t5 = await open("text_encoder_3", (files) => OnnxT5.open(gpu, t5, files));
    }
    if (wanted.has("transformer")) {
      components.transformer = await open(
        "transformer",
        (files) => OnnxTransformer.open(gpu, transformer, files),
      );
    }
    if (wanted.has("vae_decoder")) {
      components.decoder = await open("vae_decoder", (files) => OnnxDecoder.open(gpu, vae, files));
    }
    if (wanted.has("vae_encoder")) {
      components.encoder = await open("vae_encoder", (files) => OnnxEncoder.open(gpu, vae, files));
    }
  } catch (error) {
    for (const component of Object.values(components)) component.dispose();
    throw error;
  }
  return components;
}

/** Float16 weights of a float32 graph are widened while it loads. */
const WIDENING = 2;

/**
 * The same components on a device for planning: they hold the memory that the graphs would take,
 * estimated from the files' sizes and the tensors' shapes.
 */
export async function layOutOnnx(
  model: OnnxModel,
  gpu: Gpu,
  networks: Iterable<Network>,
): Promise<OnnxComponents> {
  const wanted = new Set(networks);
  const files = await model.source.list();
  const bytes = async (network: Network) => {
    let sum = 0;
    for (const file of files.filter((file) => file.startsWith(`${network}/model.onnx`))) {
      sum += await model.source.size(file);
    }
    return WIDENING * sum;
  };
  const { clipL, clipG, t5, transformer, vae } = model;
  const dry = async <Config>(
    network: Network,
    config: Config,
    activations: (config: Config, inputs: Readonly<Record<string, GraphInput>>) => number,
  ) => new DryGraph(gpu, await bytes(network), (inputs) => activations(config, inputs));
  const components: OnnxComponents = {};
  if (wanted.has("text_encoder")) {
    components.clipL = new OnnxClip(clipL, await dry("text_encoder", clipL, clipActivations));
  }
  if (wanted.has("text_encoder_2")) {
    components.clipG = new OnnxClip(clipG, await dry("text_encoder_2", clipG, clipActivations));
  }
  if (wanted.has("text_encoder_3") && t5) {
    components.t5 = new OnnxT5(t5, await dry("text_encoder_3", t5, t5Activations));
  }
  if (wanted.has("transformer")) {
    const graph = await dry("transformer", transformer, transformerActivations);
    components.transformer = new OnnxTransformer(gpu, transformer, graph);
  }
  if (wanted.has("vae_decoder")) {
    const graph = await dry("vae_decoder", vae, decoderActivations);
    components.decoder = new OnnxDecoder(gpu, vae, graph);
  }
  if (wanted.has("vae_encoder")) {
    const graph = await dry("vae_encoder", vae, encoderActivations);
    components.encoder = new OnnxEncoder(gpu, vae, graph);
  }
  return components;
}
