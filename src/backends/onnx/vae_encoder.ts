/** The VAE's encoder as an ONNX graph. */
import type { Gpu } from "../../gpu/device.ts";
import { copyTensor } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { EncoderComponent } from "../../models/sd3/components.ts";
import { type VaeConfig, vaeScale } from "../../models/sd3/configs.ts";
import { imageActivations } from "./activations.ts";
import type { Graph, GraphKind } from "./graph.ts";

class OnnxEncoder implements EncoderComponent {
  readonly config: VaeConfig;
  readonly #gpu: Gpu;
  readonly #graph: Graph;

  constructor(gpu: Gpu, config: VaeConfig, graph: Graph) {
    this.#gpu = gpu;
    this.#graph = graph;
    this.config = config;
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

export const encoderGraph: GraphKind<VaeConfig, EncoderComponent> = {
  ends: ({ in_channels, latent_channels }) => ({
    inputs: [{ name: "sample", dims: [1, in_channels, null, null], kind: "float" }],
    outputs: [
      { name: "latent_parameters", dims: [1, 2 * latent_channels, null, null], kind: "float" },
    ],
  }),
  make: (gpu, config, graph) => new OnnxEncoder(gpu, config, graph),
  activations(config, { sample }) {
    const [, , height, width] = (sample as Tensor).shape as [number, number, number, number];
    return imageActivations(config, height * width / vaeScale(config) ** 2);
  },
};
