/** The VAE's decoder as an ONNX graph. */
import type { Gpu } from "../../gpu/device.ts";
import { copyTensor, type Program } from "../../gpu/program.ts";
import { ProgramCache } from "../../gpu/program_cache.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { DecoderComponent } from "../../models/sd3/components.ts";
import { type VaeConfig, vaeScale } from "../../models/sd3/configs.ts";
import { nchwToNhwc } from "../../ops/nchw_to_nhwc.ts";
import { nhwcToNchw } from "../../ops/nhwc_to_nchw.ts";
import { imageActivations, largestPerLatent } from "./activations.ts";
import type { Graph, GraphKind } from "./graph.ts";

/** The kernels before and after the graph, and the buffers between them and it. */
interface Ends {
  readonly before: Program;
  /** Ends of `before`, in the arena. */
  readonly latents: Tensor;
  readonly scaled: Tensor;
  /** The graph's own input and output. */
  readonly input: Tensor;
  readonly output: Tensor;
  readonly after: Program;
  readonly planes: Tensor;
  readonly pixels: Tensor;
  dispose(): void;
}

const keptSizes = 2;

class OnnxDecoder implements DecoderComponent {
  readonly config: VaeConfig;
  readonly maxArea: number;
  readonly #gpu: Gpu;
  readonly #graph: Graph;
  readonly #ends = new ProgramCache<Ends>(keptSizes);

  constructor(gpu: Gpu, config: VaeConfig, graph: Graph) {
    this.#gpu = gpu;
    this.#graph = graph;
    this.config = config;
    this.maxArea = largestArea(config, gpu.limits.maxStorageBufferBindingSize);
  }

  async decode(latents: Tensor, out: Tensor): Promise<void> {
    const ends = await this.#ends.get(`${latents.shape}`, () => this.#makeEnds(latents.shape));
    await this.#gpu.submit("onnx decode/latents", (encoder) => {
      copyTensor(encoder, latents, ends.latents);
      ends.before.encode(encoder);
      copyTensor(encoder, ends.scaled, ends.input);
    });
    await this.#graph.run({ latent_sample: ends.input }, { sample: ends.output });
    await this.#gpu.submit("onnx decode/pixels", (encoder) => {
      copyTensor(encoder, ends.output, ends.planes);
      ends.after.encode(encoder);
      copyTensor(encoder, ends.pixels, out);
    });
  }

  async dispose(): Promise<void> {
    this.#ends.dispose();
    await this.#graph.dispose();
  }

  async #makeEnds(shape: readonly number[]): Promise<Ends> {
    const { scaling_factor, shift_factor, out_channels } = this.config;
    const gpu = this.#gpu;
    const scale = vaeScale(this.config);
    const rec = gpu.record("onnx decode/latents");
    const latents = rec.alloc(shape, "latents");
    const rows = nchwToNhwc(rec, {
      x: latents,
      divisor: scaling_factor,
      shift: shift_factor,
      label: "onnx decode/scale",
    });
    const scaled = nhwcToNchw(rec, { x: rows, label: "onnx decode/input" });
    const before = await rec.finish();
    const image = [1, out_channels, shape[2]! * scale, shape[3]! * scale];
    const last = gpu.record("onnx decode/pixels");
    const planes = last.alloc(image, "planes");
    const pixels = nchwToNhwc(last, { x: planes, label: "onnx decode/pixels" });
    const after = await last.finish();
    const input = gpu.createTensor(shape, "onnx/latent_sample", "arena");
    const output = gpu.createTensor(image, "onnx/sample", "arena");
    return {
      before,
      latents,
      scaled,
      input,
      output,
      after,
      planes,
      pixels,
      dispose: () => {
        before.dispose();
        after.dispose();
        gpu.destroyTensor(input, output);
      },
    };
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
