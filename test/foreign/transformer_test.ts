/** Transformers of other families, widths and sizes than the fixture's against the f64 reference. */
import type { Tensor } from "../../src/gpu/tensor.ts";
import { parseConfig, transformerConfig } from "../../src/models/sd3/configs.ts";
import { MMDiT } from "../../src/models/sd3/transformer/mmdit.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { assertClose, gpu, random } from "../gpu.ts";
import { transformerReference } from "../reference/networks/mmdit.ts";
import { tolerance } from "../tolerance.ts";
import { source } from "../weights/make.ts";
import { heads, transformer as base } from "./configs.ts";
import { makeNetwork, type StorageOptions } from "./make_network.ts";
import { type TransformerConfig, transformerShapes } from "./shapes.ts";

interface Case {
  readonly config: Partial<TransformerConfig>;
  readonly storage?: StorageOptions;
  /** Latent rows and columns. */
  readonly size: readonly [number, number];
  readonly contextLength?: number;
  readonly timesteps?: readonly number[];
  readonly skipLayers?: readonly number[];
}

const sd3Medium = { qk_norm: null, dual_attention_layers: [] } as const;
const sd35Large = { qk_norm: "rms_norm", dual_attention_layers: [] } as const;
const sd35Medium = { qk_norm: "rms_norm", dual_attention_layers: [0, 1] } as const;

const cases: Record<string, Case> = {
  "SD3 medium: no q/k norm": { config: { ...sd3Medium, num_layers: 3 }, size: [8, 12] },
  "SD3.5 large: q/k norm, f16": {
    config: { ...sd35Large, num_layers: 3, ...heads(3, 64) },
    storage: { dtype: "F16" },
    size: [12, 8],
  },
  "SD3.5 medium: dual attention, sharded bf16": {
    config: { ...sd35Medium, num_layers: 3, ...heads(3, 64) },
    storage: { dtype: "BF16", shards: 3 },
    size: [10, 14],
  },
  "one layer, which is the last, with dual attention": {
    config: { ...sd35Medium, num_layers: 1 },
    size: [8, 8],
  },
  "dual attention in the middle only": {
    config: { ...sd35Medium, num_layers: 3, dual_attention_layers: [1] },
    size: [6, 6],
  },
  "one head of 64": { config: { ...sd35Large, ...heads(1, 64) }, size: [6, 10] },
  "five heads of 32": { config: { ...sd35Medium, ...heads(5, 32) }, size: [6, 10] },
  "heads of 40": { config: { ...sd35Large, ...heads(2, 40) }, size: [6, 10] },
  "heads of 80": { config: { ...sd35Medium, ...heads(1, 80) }, size: [6, 10] },
  "heads of 128": { config: { ...sd35Large, ...heads(2, 128) }, size: [6, 10] },
  "heads of 12, f16": {
    config: { ...sd35Large, ...heads(3, 12) },
    storage: { dtype: "F16" },
    size: [6, 10],
  },
  "heads of 13": { config: { ...sd35Large, ...heads(4, 13) }, size: [6, 10] },
  "latents of 2x2 patches": { config: sd35Medium, size: [4, 4] },
  "a single patch": { config: sd35Large, size: [2, 2] },
  "one row of patches": { config: sd35Large, size: [2, 34] },
  "across the kernels' tiles": {
    config: { ...sd35Medium, num_layers: 1, ...heads(1, 64), pos_embed_max_size: 40 },
    size: [26, 46],
    contextLength: 77 + 64,
  },
  "an odd table of positions, odd and even crops": {
    config: { ...sd3Medium, num_layers: 1, pos_embed_max_size: 9 },
    size: [10, 18],
  },
  "an even table of positions, odd crops": {
    config: { ...sd3Medium, num_layers: 1, pos_embed_max_size: 10 },
    size: [6, 14],
  },
  "the whole table of positions": {
    config: { ...sd3Medium, num_layers: 1, pos_embed_max_size: 7 },
    size: [14, 14],
  },
  "patches of 1": { config: { ...sd35Large, patch_size: 1 }, size: [5, 7] },
  "patches of 4": { config: { ...sd35Large, patch_size: 4, sample_size: 16 }, size: [8, 12] },
  "four latent channels": {
    config: { ...sd35Large, in_channels: 4, out_channels: 4 },
    size: [6, 10],
  },
  "three latent channels, odd widths of the text": {
    config: {
      ...sd35Large,
      in_channels: 3,
      out_channels: 3,
      joint_attention_dim: 51,
      pooled_projection_dim: 23,
    },
    size: [6, 10],
  },
  "a context wider than the network": {
    config: { ...sd35Large, joint_attention_dim: 300 },
    size: [6, 10],
    contextLength: 5,
  },
  "a batch of three, each with its own timestep": {
    config: { ...sd35Medium, ...heads(3, 64) },
    size: [6, 10],
    timesteps: [1000, 601.97, 8.9286],
  },
  "layers left out": {
    config: { ...sd35Medium, num_layers: 4 },
    size: [6, 10],
    skipLayers: [1, 3],
  },
};

for (
  const [name, { config: changes, storage, size, skipLayers = [], ...rest }] of Object.entries(
    cases,
  )
) {
  Deno.test(`transformer: ${name}`, async () => {
    const config = { ...base, ...changes };
    const { contextLength = 19, timesteps = [731.25] } = rest;
    const [height, width] = size;
    const batch = timesteps.length;
    const { files, weights } = makeNetwork(transformerShapes(config), {
      stem: "diffusion_pytorch_model",
      ...storage,
    });
    const declared = new DeclaredWeights("transformer");
    const network = new MMDiT(
      parseConfig(transformerConfig, JSON.stringify(config), "config.json"),
      declared,
    );
    await declared.load(await openCheckpoint(source(files), ""), gpu);

    const { in_channels, joint_attention_dim, pooled_projection_dim } = config;
    const given = {
      latents: random(batch * in_channels * height * width, 1, 1.7),
      context: random(batch * contextLength * joint_attention_dim, 2, 1.7),
      pooled: random(batch * pooled_projection_dim, 3, 1.7),
    };
    const upload = (data: Float32Array<ArrayBuffer>, shape: number[], label: string) =>
      gpu.upload(data, shape, label, "other");
    const rec = gpu.record("transformer");
    const seen = new Map<string, Tensor>();
    const velocity = network.forward(
      rec,
      {
        latents: upload(given.latents, [batch, in_channels, height, width], "latents"),
        timesteps: upload(Float32Array.from(timesteps), [batch], "timesteps"),
        context: network.embedContext(
          rec,
          upload(given.context, [batch, contextLength, joint_attention_dim], "context"),
        ),
        pooled: network.embedPooled(
          rec,
          upload(given.pooled, [batch, pooled_projection_dim], "pooled"),
        ),
      },
      skipLayers,
      (key, tensor) => {
        const copy = gpu.createTensor(tensor.shape, key, "other");
        rec.copy(tensor, copy);
        seen.set(key, copy);
      },
    );
    const program = await rec.finish();
    await gpu.run(program);

    const found = new Map<string, Float32Array>();
    for (const [key, tensor] of seen) found.set(key, await gpu.readFloats(tensor));
    found.set("velocity", await gpu.readFloats(velocity));
    for (const [b, timestep] of timesteps.entries()) {
      const part = <T extends Float32Array>(values: T) =>
        values.subarray(b * values.length / batch, (b + 1) * values.length / batch);
      const compare = (key: string, expected: Float64Array) =>
        assertClose(part(found.get(key)!), expected, tolerance.module, `${key}, sample ${b}`);
      const expected = transformerReference(weights, config, {
        latents: part(given.latents),
        height,
        width,
        timestep,
        context: Float64Array.from(part(given.context)),
        pooled: Float64Array.from(part(given.pooled)),
        skipLayers,
      }, (key, value) => {
        if (found.has(key)) compare(key, value);
      });
      compare("velocity", expected);
    }
    program.dispose();
    declared.dispose();
  });
}
