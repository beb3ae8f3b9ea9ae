/** Everything that a request runs, at real sizes, on a device that runs nothing. */
import { layOutModel } from "../../src/backends/load.ts";
import type { Components } from "../../src/models/sd3/components.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { BindingLimitError, OutOfDeviceMemoryError } from "../../src/gpu/errors.ts";
import type { KernelChooser } from "../../src/gpu/tuning.ts";
import type { ModelDescription } from "../../src/models/sd3/describe.ts";
import { DecodeStage } from "../../src/pipeline/decode_stage.ts";
import { toRgba8 } from "../../src/ops/to_rgba8.ts";
import { isQuantType } from "../../src/gpu/quantized.ts";
import type { WeightType } from "../../src/weights/weight_type.ts";
import type { Kind } from "./kinds.ts";
import { Recording } from "./recording.ts";

export type Size = readonly [height: number, width: number];

export interface Runs {
  readonly recording: Recording;
  /** What some activation is too large for: "1024x1024 step", "... decode", "... encode". */
  readonly refused: readonly string[];
}

/** Takes the `index`-th of the kernels that may compute something, or the last there is. */
function chooses(index: number): KernelChooser {
  return {
    known: ({ candidates }) => candidates[Math.min(index, candidates.length - 1)]!.name,
    keep: () => {},
    answer: () => Promise.resolve(false),
  };
}

export interface RunOptions {
  readonly sizes: readonly Size[];
  readonly batches: readonly number[];
  readonly weightType: WeightType;
  /** Which of several kernels for one thing. */
  readonly choice: number;
}

/** Text encoders, steps, decode and encode of one model on one kind of adapter. */
export async function run(model: ModelDescription, kind: Kind, options: RunOptions): Promise<Runs> {
  const gpu = dryGpu({ ...kind.like, tuner: chooses(options.choice) });
  const recording = new Recording();
  recording.observe(gpu);
  const { weightType } = options;
  const components = await (await layOutModel(model, gpu, { weightType, onDemand: ["encoder"] }))(
    gpu,
  );
  const refused: string[] = [];
  const attempt = async (name: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      // What a device cannot bind or allocate as one, requests are refused for.
      const isLimit = error instanceof BindingLimitError || error instanceof OutOfDeviceMemoryError;
      if (!isLimit) throw error;
      refused.push(name);
    }
  };
  await texts(gpu, model, components);
  for (const size of options.sizes) {
    const name = size.join("x");
    const calls: number[] = [];
    for (const batch of options.batches) {
      // Where every row is predicted on its own, more of them are the same dispatches again.
      const [one = 0, two = 0] = calls;
      if (one > 0 && two >= 1.8 * one) break;
      const before = recording.calls;
      await attempt(`${name} step`, () => step(components, size, batch));
      calls.push(recording.calls - before);
    }
    // The autoencoder's weights stay as they are.
    if (isQuantType(weightType)) continue;
    await attempt(`${name} decode`, () => decode(gpu, model, components, size));
    await attempt(`${name} encode`, () => encode(gpu, model, components, size));
  }
  return { recording, refused: [...new Set(refused)] };
}

const clipLength = 77;
const t5Lengths = [256, 512];

async function texts(gpu: Gpu, model: ModelDescription, components: Components): Promise<void> {
  const { clipL, clipG, t5, transformer } = components;
  const tensor = (...shape: number[]) => gpu.createTensor(shape, "text", "other");
  for (const clip of [clipL, clipG]) {
    await clip.embed(new Int32Array(clipLength), {
      hidden: tensor(1, clipLength, clip.hiddenSize),
      pooled: tensor(1, clip.projectionDim),
    });
  }
  for (const length of t5Lengths) {
    await t5!.embed(new Int32Array(length), tensor(1, length, t5!.hiddenSize));
    const tokens = clipLength + length;
    await transformer.prepareText(
      tensor(1, tokens, model.configs.transformer.joint_attention_dim),
      tensor(1, model.configs.transformer.pooled_projection_dim),
      {
        context: tensor(1, tokens, transformer.contextWidth),
        pooled: tensor(1, transformer.pooledWidth),
      },
    );
  }
}

/**
 * A step of `images` images with guidance and skipped layers. What it predicts for the
 * images without guidance is what a plain step predicts.
 */
async function step(
  { transformer }: Components,
  [height, width]: Size,
  images: number,
): Promise<void> {
  const recorded = await transformer.step({
    height: height / 8,
    width: width / 8,
    contextLength: clipLength + t5Lengths[0]!,
    images: images,
    rows: 2 * images,
    skipRows: images,
    skipLayers: [7, 8, 9],
    // Half of them by a scheduler that remembers as much as one may.
    combined: Math.ceil(images / 2),
    slots: 4,
  });
  const nothing = () => {};
  const commands = await recorded.record({ before: nothing, after: nothing, write: nothing });
  await commands.submit();
}

/** Bytes for a decode's activations: the default, and enough for 1024 x 1024 as a whole. */
const decodeBytes = [undefined, 4 * 2 ** 30];

/** Whole where that many bytes suffice, else one of its tiles; then the bytes of the whole image. */
async function decode(
  gpu: Gpu,
  model: ModelDescription,
  { decoder }: Components,
  [height, width]: Size,
): Promise<void> {
  const channels = model.configs.transformer.in_channels;
  const [h, w] = [height / 8, width / 8];
  for (const maxBytes of decodeBytes) {
    const edge = new DecodeStage(gpu, decoder, { maxBytes }).tileEdge(h, w);
    const [rows, columns] = edge ? [Math.min(edge, h), Math.min(edge, w)] : [h, w];
    const latents = gpu.createTensor([1, channels, rows, columns], "latents", "other");
    const pixels = gpu.createTensor([1, 8 * rows, 8 * columns, 3], "pixels", "other");
    await decoder.decode(latents, pixels);
    gpu.destroyTensor(latents, pixels);
  }
  const rec = gpu.record("bytes");
  toRgba8(rec, { x: rec.alloc([1, height, width, 3], "decoded"), label: "rgba" });
  const program = await rec.finish();
  await gpu.run(program);
  program.dispose();
}

async function encode(
  gpu: Gpu,
  model: ModelDescription,
  { encoder }: Components,
  [height, width]: Size,
): Promise<void> {
  const image = gpu.createTensor([1, 3, height, width], "image", "other");
  const shape = [1, 2 * model.configs.decoder.latent_channels, height / 8, width / 8];
  const moments = gpu.createTensor(shape, "moments", "other");
  await encoder!.encode(image, moments);
  gpu.destroyTensor(image, moments);
}
