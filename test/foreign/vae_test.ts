/** Autoencoders of other widths and depths than the fixture's, both ways, against the f64 reference. */
import { parseConfig, vaeConfig } from "../../src/models/sd3/configs.ts";
import { wgslDecoder, wgslEncoder } from "../../src/backends/wgsl/components.ts";
import { VaeDecoder } from "../../src/models/sd3/vae/decoder.ts";
import { VaeEncoder } from "../../src/models/sd3/vae/encoder.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { assertClose, gpu, random } from "../gpu.ts";
import { decodeReference, encodeReference, type Planes } from "../reference/networks/vae.ts";
import { tolerance } from "../tolerance.ts";
import { source } from "../weights/make.ts";
import { levels } from "./configs.ts";
import { makeNetwork, type StorageOptions } from "./make_network.ts";
import { type VaeConfig, vaeShapes } from "./shapes.ts";

interface Case {
  readonly config: VaeConfig;
  readonly storage?: StorageOptions;
  /** Latent rows and columns. */
  readonly size?: readonly [number, number];
}

const cases: Record<string, Case> = {
  "three levels, f16": { config: levels([24, 40, 48]), storage: { dtype: "F16" } },
  "four levels, sharded bf16": {
    config: levels([16, 24, 32, 32]),
    storage: { dtype: "BF16", shards: 3 },
    size: [3, 2],
  },
  "five levels": { config: levels([8, 8, 16, 16, 24], { norm_num_groups: 4 }), size: [2, 1] },
  "one level": { config: levels([32]), size: [9, 13] },
  "groups of nine and of ten": { config: levels([36, 40], { norm_num_groups: 4 }) },
  "groups of three, five and seven": { config: levels([12, 20, 28], { norm_num_groups: 4 }) },
  "one group": { config: levels([12, 20], { norm_num_groups: 1 }) },
  "a group for each channel": { config: levels([12, 12], { norm_num_groups: 12 }) },
  "two resnets in a block": { config: levels([16, 24], { layers_per_block: 2 }) },
  "three resnets in a block": { config: levels([16, 8], { layers_per_block: 3 }) },
  "convolutions around the latents": {
    config: levels([16, 24], { use_quant_conv: true, use_post_quant_conv: true }),
    storage: { dtype: "F16" },
  },
  "no attention": { config: levels([16, 24], { mid_block_add_attention: false }) },
  "four latent channels": {
    config: levels([16, 24], {
      latent_channels: 4,
      use_quant_conv: true,
      use_post_quant_conv: true,
    }),
  },
  "three latent channels": {
    config: levels([16, 24], {
      latent_channels: 3,
      use_quant_conv: true,
      use_post_quant_conv: true,
    }),
  },
  "32 latent channels": { config: levels([16, 24], { latent_channels: 32 }) },
  "pixels past one tile": { config: levels([8, 16]), size: [19, 37] },
  "a single latent": { config: levels([16, 24]), size: [1, 1] },
};

for (const [name, { config, storage, size: [height, width] = [5, 7] }] of Object.entries(cases)) {
  Deno.test(`VAE: ${name}`, async () => {
    const { files, weights } = makeNetwork(vaeShapes(config), {
      stem: "diffusion_pytorch_model",
      ...storage,
    });
    const declared = new DeclaredWeights("vae");
    const parsed = parseConfig(vaeConfig, JSON.stringify(config), "config.json");
    const decoder = wgslDecoder(gpu, new VaeDecoder(parsed, declared), declared);
    const encoder = wgslEncoder(gpu, new VaeEncoder(parsed, declared), declared);
    await declared.load(await openCheckpoint(source(files), ""), gpu);
    const scale = 2 ** (config.block_out_channels.length - 1);
    const channels = config.latent_channels;

    const latents = random(channels * height * width, 4, 1.7);
    const image = gpu.createTensor([1, height * scale, width * scale, 3], "image", "other");
    const shape = [1, channels, height, width];
    await decoder.decode(gpu.upload(latents, shape, "latents", "other"), image);
    const decoded = decodeReference(weights, config, {
      data: Float64Array.from(latents, (v) => v / config.scaling_factor + config.shift_factor),
      channels,
      height,
      width,
    });
    assertClose(await gpu.readFloats(image), pixels(decoded), tolerance.module, "decoded");

    const planes = random(3 * height * width * scale ** 2, 5);
    const moments = gpu.createTensor([1, 2 * channels, height, width], "moments", "other");
    const imageShape = [1, 3, height * scale, width * scale];
    await encoder.encode(gpu.upload(planes, imageShape, "image", "other"), moments);
    const encoded = encodeReference(weights, config, {
      data: Float64Array.from(planes),
      channels: 3,
      height: height * scale,
      width: width * scale,
    });
    assertClose(await gpu.readFloats(moments), encoded.data, tolerance.module, "encoded");
    decoder.dispose();
    encoder.dispose();
  });
}

/** Channels last. */
function pixels({ data, channels }: Planes): Float64Array {
  const plane = data.length / channels;
  return data.map((_, i) => data[(i % channels) * plane + Math.floor(i / channels)]!);
}
