/** Previews of running requests: copies of their latents, read back as small images. */
import { Mutex } from "async-mutex";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { fitProjection, latentPreview, type LatentProjection } from "../image/preview.ts";
import type { DecoderComponent } from "../models/sd3/components.ts";
import { vaeScale } from "../models/sd3/configs.ts";
import { TorchCpuGenerator } from "../random/torch_cpu.ts";
import type { RgbImage } from "../image/rgb_image.ts";

/** Latent edge of the sample that the projection is fitted to, and of its flat patches. */
const sampleEdge = 16;
const patchEdge = 2;

/** The model's projection from latents to colours, fitted at first use. */
export class PreviewProjection {
  readonly #gpu: Gpu;
  readonly #decoder: DecoderComponent;
  readonly #turn = new Mutex();
  #projection: LatentProjection | undefined;

  constructor(gpu: Gpu, decoder: DecoderComponent) {
    this.#gpu = gpu;
    this.#decoder = decoder;
  }

  get(): Promise<LatentProjection> {
    return this.#turn.runExclusive(async () => this.#projection ??= await this.#fit());
  }

  async #fit(): Promise<LatentProjection> {
    const { config } = this.#decoder;
    const channels = config.latent_channels;
    const scale = vaeScale(config);
    const shape = [1, channels, sampleEdge, sampleEdge];
    const values = patches(channels);
    const latents = this.#gpu.upload(values, shape, "preview/sample", "other");
    const decoded = [1, sampleEdge * scale, sampleEdge * scale, 3];
    const image = this.#gpu.createTensor(decoded, "preview/decoded", "other");
    try {
      await this.#decoder.decode(latents, image);
      const size = { channels, height: sampleEdge, width: sampleEdge };
      return fitProjection(values, size, await this.#gpu.readFloats(image));
    } finally {
      this.#gpu.destroyTensor(latents, image);
    }
  }
}

/** Random flat patches: smooth enough that a decoder paints one colour over each. */
function patches(channels: number): Float32Array<ArrayBuffer> {
  const cells = sampleEdge / patchEdge;
  const noise = new TorchCpuGenerator(0).randn(channels * cells * cells);
  const values = new Float32Array(channels * sampleEdge * sampleEdge);
  for (let i = 0; i < values.length; i++) {
    const x = Math.floor(i % sampleEdge / patchEdge);
    const y = Math.floor(Math.floor(i / sampleEdge) % sampleEdge / patchEdge);
    const c = Math.floor(i / (sampleEdge * sampleEdge));
    values[i] = noise[(c * cells + y) * cells + x]!;
  }
  return values;
}

/** The previews of one request. */
export class Previews {
  readonly #gpu: Gpu;
  readonly #projection: PreviewProjection;
  readonly #steps: number;
  readonly #every: number;
  readonly #tensors = new Map<number, Tensor[]>();

  /** @param every a preview after every k-th step; 0: none */
  constructor(gpu: Gpu, projection: PreviewProjection, steps: number, every: number) {
    this.#gpu = gpu;
    this.#projection = projection;
    this.#steps = steps;
    this.#every = every;
  }

  /** Where image `k` leaves its latents after `step`, if a preview is due. */
  tensor(step: number, k: number, shape: readonly number[]): Tensor | undefined {
    if (this.#every <= 0 || step % this.#every !== 0 || step === this.#steps) return undefined;
    const list = this.#tensors.get(step) ?? [];
    this.#tensors.set(step, list);
    return list[k] ??= this.#gpu.createTensor(shape, "preview", "requests");
  }

  /** One image for each of the request's, or nothing if this step has none. */
  async take(step: number): Promise<RgbImage[] | undefined> {
    const tensors = this.#tensors.get(step);
    if (!tensors) return undefined;
    this.#tensors.delete(step);
    try {
      const projection = await this.#projection.get();
      const images: RgbImage[] = [];
      for (const tensor of tensors) {
        const [, channels, height, width] = tensor.shape as [number, number, number, number];
        const values = await this.#gpu.readFloats(tensor);
        images.push(latentPreview(values, { channels, height, width }, projection));
      }
      return images;
    } finally {
      this.#gpu.destroyTensor(...tensors);
    }
  }

  dispose(): void {
    for (const tensors of this.#tensors.values()) this.#gpu.destroyTensor(...tensors);
    this.#tensors.clear();
  }
}
