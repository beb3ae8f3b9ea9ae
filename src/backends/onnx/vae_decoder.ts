/** The VAE's decoder as an ONNX graph. */
import type { Gpu } from "../../gpu/device.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { DecoderComponent } from "../../models/sd3/components.ts";
import { largestPerLatent, type VaeConfig } from "../../models/sd3/configs.ts";
import { Recorded } from "../../nn/recorded.ts";
import { nchwToNhwc } from "../../ops/nchw_to_nhwc.ts";
import { nhwcToNchw } from "../../ops/nhwc_to_nchw.ts";
import { imageActivations } from "./activations.ts";
import type { Graph, GraphKind } from "./graph.ts";

/** Sizes whose kernels before and after the graph are kept. */
const kept = 2;

class OnnxDecoder implements DecoderComponent {
  readonly config: VaeConfig;
  readonly maxArea: number;
  readonly #gpu: Gpu;
  readonly #graph: Graph;
  readonly #before: Recorded<"latents", "scaled">;
  readonly #after: Recorded<"planes", "pixels">;

  constructor(gpu: Gpu, config: VaeConfig, graph: Graph) {
    this.#gpu = gpu;
    this.#graph = graph;
    this.config = config;
    this.maxArea = largestArea(config, gpu.limits.maxStorageBufferBindingSize);
    const { scaling_factor: divisor, shift_factor: shift } = config;
    this.#before = new Recorded(gpu, {
      ...{ label: "onnx decode/latents", kept },
      build: (rec, { latents: x }) => {
        const rows = nchwToNhwc(rec, { x, divisor, shift, label: "onnx decode/scale" });
        return { scaled: nhwcToNchw(rec, { x: rows, label: "onnx decode/input" }) };
      },
    });
    this.#after = new Recorded(gpu, {
      ...{ label: "onnx decode/pixels", kept },
      build: (rec, { planes: x }) => ({
        pixels: nchwToNhwc(rec, { x, label: "onnx decode/pixels" }),
      }),
    });
  }

  async decode(latents: Tensor, pixels: Tensor): Promise<void> {
    const [, height, width, channels] = pixels.shape as [number, number, number, number];
    // onnxruntime binds whole buffers
    const scaled = this.#gpu.createTensor(latents.shape, "onnx/latent_sample", "arena");
    const planes = this.#gpu.createTensor([1, channels, height, width], "onnx/sample", "arena");
    try {
      await this.#before.run({ latents }, { scaled });
      await this.#graph.run({ latent_sample: scaled }, { sample: planes });
      await this.#after.run({ planes }, { pixels });
    } finally {
      this.#gpu.destroyTensor(scaled, planes);
    }
  }

  async dispose(): Promise<void> {
    this.#before.dispose();
    this.#after.dispose();
    await this.#graph.dispose();
  }
}

/** Latent pixels at which the graph's largest intermediate result fills one binding. */
function largestArea(config: VaeConfig, bindable: number): number {
  const convolved = Math.floor(bindable / largestPerLatent(config));
  // the middle block's scores are area * area: standard operators know no fused attention
  const attended = Math.floor(Math.sqrt(bindable / 4));
  return Math.min(convolved, attended);
}

export const decoderGraph: GraphKind<VaeConfig, DecoderComponent> = {
  ends: ({ latent_channels, out_channels }) => ({
    inputs: [{ name: "latent_sample", dims: [1, latent_channels, null, null], kind: "float" }],
    outputs: [{ name: "sample", dims: [1, out_channels, null, null], kind: "float" }],
  }),
  make: (gpu, config, graph) => new OnnxDecoder(gpu, config, graph),
  activations(config, { latent_sample }) {
    const [, , rows, columns] = (latent_sample as Tensor).shape as [number, number, number, number];
    return imageActivations(config, rows * columns);
  },
};
