/** Exported graphs of other shapes than the small model's, against the f64 references. */
import { buildGraph } from "../../../src/backends/onnx/export/build.ts";
import { writeModel } from "../../../src/backends/onnx/export/mod.ts";
import { networks } from "../../../src/models/sd3/networks.ts";
import { openCheckpoint } from "../../../src/weights/layouts/mod.ts";
import {
  clip as baseClip,
  heads,
  levels,
  t5 as baseT5,
  transformer,
} from "../../foreign/configs.ts";
import { makeNetwork, type StorageOptions } from "../../foreign/make_network.ts";
import {
  type ClipConfig,
  clipShapes,
  type Shapes,
  type T5Config,
  t5Shapes,
  type TransformerConfig,
  transformerShapes,
  type VaeConfig,
  vaeShapes,
} from "../../foreign/shapes.ts";
import { assertClose, random } from "../../gpu.ts";
import { clipReference } from "../../reference/networks/clip.ts";
import { transformerReference } from "../../reference/networks/mmdit.ts";
import { t5Reference } from "../../reference/networks/t5.ts";
import { decodeReference, encodeReference } from "../../reference/networks/vae.ts";
import { tolerance } from "../../tolerance.ts";
import { source } from "../../weights/make.ts";
import { cpuSession, type Files, infer, memorySink } from "./memory_sink.ts";

/** Makes a network, exports it and opens the graph. */
async function open(folder: string, config: object, shapes: Shapes, storage?: StorageOptions) {
  const row = Object.values(networks).find(({ name }) => name === folder)!;
  const { files: stored, weights } = makeNetwork(shapes, storage);
  const checkpoint = await openCheckpoint(source(stored), "");
  const files: Files = new Map();
  const graph = buildGraph(row, JSON.stringify(config), checkpoint, "f32");
  await writeModel(graph, memorySink(files), folder);
  return { weights, session: await cpuSession(files, folder) };
}

const transformers: Record<
  string,
  { config: Partial<TransformerConfig>; storage?: StorageOptions; size?: readonly [number, number] }
> = {
  "SD3 medium: no q/k norm": { config: { num_layers: 3 } },
  "SD3.5 large: q/k norm, f16": {
    config: { num_layers: 3, qk_norm: "rms_norm", ...heads(3, 64) },
    storage: { dtype: "F16" },
  },
  "SD3.5 medium: dual attention, sharded bf16": {
    config: { num_layers: 3, qk_norm: "rms_norm", dual_attention_layers: [0, 1] },
    storage: { dtype: "BF16", shards: 3 },
    size: [10, 14],
  },
  "one layer, which is the last, with dual attention": {
    config: { num_layers: 1, qk_norm: "rms_norm", dual_attention_layers: [0] },
  },
  "an odd table of positions, odd and even crops": {
    config: { num_layers: 1, pos_embed_max_size: 9 },
    size: [10, 18],
  },
  "patches of 1, three channels, odd widths of the text": {
    config: {
      patch_size: 1,
      in_channels: 3,
      out_channels: 3,
      joint_attention_dim: 51,
      pooled_projection_dim: 23,
    },
    size: [5, 7],
  },
  "patches of 4": { config: { patch_size: 4, qk_norm: "rms_norm" }, size: [8, 12] },
};

for (const [name, { config: changes, storage, size = [6, 10] }] of Object.entries(transformers)) {
  Deno.test(`exported transformer: ${name}`, async () => {
    const config = { ...transformer, ...changes };
    const { weights, session } = await open("transformer", config, transformerShapes(config), {
      stem: "diffusion_pytorch_model",
      ...storage,
    });
    const [height, width] = size as [number, number];
    const [batch, sequence, timesteps] = [2, 11, [731.25, 8.9286]];
    const { in_channels, joint_attention_dim, pooled_projection_dim } = config;
    const latents = random(batch * in_channels * height * width, 1, 1.7);
    const context = random(batch * sequence * joint_attention_dim, 2, 1.7);
    const pooled = random(batch * pooled_projection_dim, 3, 1.7);
    const { out_hidden_states } = await infer(session, {
      hidden_states: { data: latents, shape: [batch, in_channels, height, width] },
      encoder_hidden_states: { data: context, shape: [batch, sequence, joint_attention_dim] },
      pooled_projections: { data: pooled, shape: [batch, pooled_projection_dim] },
      timestep: { data: Float32Array.from(timesteps), shape: [batch] },
    });
    await session.release();
    for (const [b, timestep] of timesteps.entries()) {
      const part = (all: Float32Array) =>
        all.slice(b * all.length / batch, (b + 1) * all.length / batch);
      const expected = transformerReference(weights, config, {
        latents: part(latents),
        height,
        width,
        timestep,
        context: Float64Array.from(part(context)),
        pooled: Float64Array.from(part(pooled)),
        skipLayers: [],
      });
      assertClose(part(out_hidden_states!), expected, tolerance.module, `sample ${b}`);
    }
  });
}

const autoencoders: Record<string, { config: VaeConfig; storage?: StorageOptions }> = {
  "three levels, f16": { config: levels([24, 40, 48]), storage: { dtype: "F16" } },
  "one level": { config: levels([32]) },
  "two resnets in a block, sharded bf16": {
    config: levels([16, 24], { layers_per_block: 2 }),
    storage: { dtype: "BF16", shards: 2 },
  },
  "no attention, four channels, convolutions around the latents": {
    config: levels([16, 24], {
      mid_block_add_attention: false,
      latent_channels: 4,
      use_quant_conv: true,
      use_post_quant_conv: true,
    }),
  },
};

for (const [name, { config, storage }] of Object.entries(autoencoders)) {
  Deno.test(`exported autoencoder: ${name}`, async () => {
    const [height, width] = [5, 3];
    const scale = 2 ** (config.block_out_channels.length - 1);
    const channels = config.latent_channels;
    const stored = { stem: "diffusion_pytorch_model", ...storage } as const;
    const decoder = await open("vae_decoder", config, vaeShapes(config), stored);
    const latents = random(channels * height * width, 4);
    const { sample } = await infer(decoder.session, {
      latent_sample: { data: latents, shape: [1, channels, height, width] },
    });
    await decoder.session.release();
    const data = Float64Array.from(latents);
    const decoded = decodeReference(decoder.weights, config, { data, channels, height, width });
    assertClose(sample!, decoded.data, tolerance.module, "decoded");

    const encoder = await open("vae_encoder", config, vaeShapes(config), stored);
    const size = { height: height * scale, width: width * scale };
    const planes = random(3 * size.height * size.width, 5);
    const { latent_parameters } = await infer(encoder.session, {
      sample: { data: planes, shape: [1, 3, size.height, size.width] },
    });
    await encoder.session.release();
    const image = { data: Float64Array.from(planes), channels: 3, ...size };
    const encoded = encodeReference(encoder.weights, config, image);
    assertClose(latent_parameters!, encoded.data, tolerance.module, "encoded");
  });
}

/** `length` ids below `vocabulary`. */
function someIds(length: number, vocabulary: number): number[] {
  return Array.from(random(length, 7), (v) => Math.floor((v + 1) / 2 * vocabulary));
}

const idsOf = (ids: readonly number[]) => ({
  data: BigInt64Array.from(ids, BigInt),
  shape: [1, ids.length],
});

const eos = baseClip.eos_token_id;
const clips: Record<
  string,
  { config: Partial<ClipConfig>; ids: number[]; storage?: StorageOptions }
> = {
  "exact gelu, bf16, one layer": {
    config: { hidden_act: "gelu", num_hidden_layers: 1 },
    ids: [...someIds(10, 290), eos],
    storage: { dtype: "BF16" },
  },
  "the first of several end tokens": { config: {}, ids: [298, 5, eos, 6, eos, eos] },
  "no end token": { config: {}, ids: [298, 5, 7, 6, 4, 3] },
  "old pooling at the largest id": {
    config: { eos_token_id: 2 },
    ids: [298, 2, 5, 299, 2, 299, 0],
  },
  "odd widths inside, a wide eps": {
    config: { intermediate_size: 53, projection_dim: 7, layer_norm_eps: 0.02 },
    ids: [1, 2, eos],
  },
};

for (const [name, { config: changes, ids, storage }] of Object.entries(clips)) {
  Deno.test(`exported CLIP: ${name}`, async () => {
    const config = { ...baseClip, ...changes };
    const { weights, session } = await open("text_encoder", config, clipShapes(config), storage);
    const found = await infer(session, { input_ids: idsOf(ids) });
    await session.release();
    const { hiddenStates, textEmbeds } = clipReference(weights, config, ids);
    assertClose(found.text_embeds!, textEmbeds, tolerance.module, "text_embeds");
    for (const [i, state] of hiddenStates.entries()) {
      assertClose(found[`hidden_states.${i}`]!, state, tolerance.module, `hidden_states.${i}`);
    }
  });
}

const t5s: Record<string, { config: Partial<T5Config>; length: number; storage?: StorageOptions }> =
  {
    "one token": { config: {}, length: 1 },
    "300 tokens, past the last border": { config: { num_layers: 1 }, length: 300 },
    "heads together wider than the model, sharded bf16": {
      config: { num_heads: 5, d_kv: 32 },
      length: 33,
      storage: { dtype: "BF16", shards: 3 },
    },
    "an odd number of buckets": {
      config: { relative_attention_num_buckets: 21, relative_attention_max_distance: 64 },
      length: 90,
    },
    "48 buckets up to 300": {
      config: { relative_attention_num_buckets: 48, relative_attention_max_distance: 300 },
      length: 120,
    },
  };

for (const [name, { config: changes, length, storage }] of Object.entries(t5s)) {
  Deno.test(`exported T5: ${name}`, async () => {
    const config = { ...baseT5, ...changes };
    const { weights, session } = await open("text_encoder_3", config, t5Shapes(config), storage);
    const ids = someIds(length, config.vocab_size);
    const { last_hidden_state } = await infer(session, { input_ids: idsOf(ids) });
    await session.release();
    const expected = t5Reference(weights, config, ids);
    assertClose(last_hidden_state!, expected, tolerance.module, `${length} tokens`);
  });
}
