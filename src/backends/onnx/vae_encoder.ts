/** The VAE's encoder as an ONNX graph. */
import type { Gpu } from "../../gpu/device.ts";
import { copyTensor } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { EncoderComponent } from "../../models/sd3/components.ts";
import type { VaeConfig } from "../../models/sd3/configs.ts";
import type { OnnxFiles } from "./files.ts";
import { imageActivations } from "./activations.ts";
import { type Graph, type GraphInput, OnnxGraph } from "./graph.ts";

export class OnnxEncoder implements EncoderComponent {
  readonly config: VaeConfig;
  readonly #gpu: Gpu;
  readonly #graph: Graph;

  constructor(gpu: Gpu, config: VaeConfig, graph: Graph) {
    this.#gpu = gpu;
    this.#graph = graph;
    this.config = config;
  }

  /** @throws {OnnxError} where the graph is not the encoder of this config, giving moments */
  static async open(gpu: Gpu, config: VaeConfig, files: OnnxFiles): Promise<OnnxEncoder> {
    const { in_channels, latent_channels } = config;
    const graph = await OnnxGraph.open(gpu, files, {
      inputs: [{ name: "sample", dims: [1, in_channels, null, null], kind: "float" }],
      outputs: [{
        name: "latent_parameters",
        dims: [1, 2 * latent_channels, null, null],
        kind: "float",
      }],
    });
    return new OnnxEncoder(gpu, config, graph);
  }

  async encode(image: Tensor, out: Tensor): Promise<void> {
    // onnxruntime binds whole buffers
    const input = this.#gpu.createTensor(image.shape, "onnx/sample", "arena");
    try {
      await this.#gpu.submit("onnx encode/image", (encoder) => copyTensor(encoder, image, input));
      await this.#graph.run({ sample: input }, { latent_parameters: out });
    } finally {
      this.#gpu.destroyTensor(input);
    }
  }

  async dispose(): Promise<void> {
    await this.#graph.dispose();
  }
}

/** Bytes that one run takes beside its ends. */
export function encoderActivations(
  config: VaeConfig,
  { sample }: Readonly<Record<string, GraphInput>>,
): number {
  const [, , height, width] = (sample as Tensor).shape as [number, number, number, number];
  const scale = 2 ** (config.block_out_channels.length - 1);
  return imageActivations(config, height * width / (scale * scale));
}
