/** CLIP and T5 of other widths, depths and lengths than the fixture's against the f64 references. */
import assert from "node:assert/strict";
import { clipTextConfig, parseConfig, t5Config } from "../../src/models/sd3/configs.ts";
import { wgslClip, wgslT5 } from "../../src/backends/wgsl/components.ts";
import { ClipTextModel } from "../../src/models/sd3/text_encoders/clip.ts";
import { T5Encoder } from "../../src/models/sd3/text_encoders/t5.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { assertClose, gpu, random } from "../gpu.ts";
import { clipReference } from "../reference/networks/clip.ts";
import { t5Reference } from "../reference/networks/t5.ts";
import { tolerance } from "../tolerance.ts";
import { source } from "../weights/make.ts";
import { clip as baseClip, t5 as baseT5 } from "./configs.ts";
import { makeNetwork, type StorageOptions } from "./make_network.ts";
import { type ClipConfig, clipShapes, type T5Config, t5Shapes } from "./shapes.ts";

/** `length` ids below `vocabulary`. */
function someIds(length: number, vocabulary: number): Int32Array<ArrayBuffer> {
  return Int32Array.from(random(length, 7), (v) => Math.floor((v + 1) / 2 * vocabulary));
}

interface ClipCase {
  readonly config: Partial<ClipConfig>;
  readonly storage?: StorageOptions;
  readonly ids?: readonly number[];
}

const eos = baseClip.eos_token_id;
const clipCases: Record<string, ClipCase> = {
  "quick gelu": { config: {} },
  "exact gelu, f16": { config: { hidden_act: "gelu" }, storage: { dtype: "F16" } },
  "one layer, so that the embeddings are the context": {
    config: { num_hidden_layers: 1 },
    storage: { dtype: "BF16" },
  },
  "five layers in shards": { config: { num_hidden_layers: 5 }, storage: { shards: 2 } },
  "one head": { config: { num_attention_heads: 1 } },
  "heads of 64": { config: { hidden_size: 192, num_attention_heads: 3, projection_dim: 200 } },
  "heads of 80": { config: { hidden_size: 160, num_attention_heads: 2 } },
  "heads of 4": { config: { num_attention_heads: 10 } },
  "odd widths inside": { config: { intermediate_size: 53, projection_dim: 7 } },
  "a wide eps": { config: { layer_norm_eps: 0.02 } },
  "the first of several end tokens": { config: {}, ids: [298, 5, eos, 6, eos, eos] },
  "no end token": { config: {}, ids: [298, 5, 7, 6, 4, 3] },
  "old pooling at the largest id": {
    config: { eos_token_id: 2 },
    ids: [298, 2, 5, 299, 2, 299, 0],
  },
  "77 tokens": { config: { max_position_embeddings: 77 }, ids: [...someIds(76, 290), eos] },
};

for (const [name, { config: changes, storage, ids: given }] of Object.entries(clipCases)) {
  Deno.test(`CLIP: ${name}`, async () => {
    const config = { ...baseClip, ...changes };
    const ids = given ?? [...someIds(20, 290), eos, 0, 0];
    const { files, weights } = makeNetwork(clipShapes(config), storage);
    const declared = new DeclaredWeights("clip");
    const parsed = parseConfig(clipTextConfig, JSON.stringify(config), "config.json");
    const model = new ClipTextModel(parsed, declared);
    await declared.load(await openCheckpoint(source(files), ""), gpu);
    const component = wgslClip(gpu, model, declared);
    const out = {
      hidden: gpu.createTensor([1, ids.length, config.hidden_size], "hidden", "other"),
      pooled: gpu.createTensor([1, config.projection_dim], "pooled", "other"),
    };
    const { hiddenStates, textEmbeds } = clipReference(weights, config, ids);
    for (let skip = 0; skip < config.num_hidden_layers; skip++) {
      await component.embed(Int32Array.from(ids), out, skip);
      const hidden = await gpu.readFloats(out.hidden);
      assertClose(hidden, hiddenStates.at(-(skip + 2))!, tolerance.module, `skip ${skip}`);
      assertClose(await gpu.readFloats(out.pooled), textEmbeds, tolerance.module, "pooled");
    }
    component.dispose();
  });
}

interface T5Case {
  readonly config: Partial<T5Config>;
  readonly storage?: StorageOptions;
  readonly lengths?: readonly number[];
}

const t5Cases: Record<string, T5Case> = {
  "lengths one after the other": { config: {}, lengths: [1, 2, 24, 77] },
  "256 tokens, f16": { config: {}, storage: { dtype: "F16" }, lengths: [256] },
  "512 tokens": { config: { num_layers: 1 }, lengths: [512] },
  "heads together wider than the model": { config: { num_heads: 5, d_kv: 32 } },
  "heads of 64, sharded bf16": {
    config: { num_heads: 2, d_kv: 64, num_layers: 3 },
    storage: { dtype: "BF16", shards: 3 },
  },
  "heads of 40": { config: { num_heads: 1, d_kv: 40 } },
  "heads of 13": { config: { num_heads: 3, d_kv: 13 } },
  "16 buckets up to 40": {
    config: { relative_attention_num_buckets: 16, relative_attention_max_distance: 40 },
    lengths: [130],
  },
  "48 buckets up to 300": {
    config: { relative_attention_num_buckets: 48, relative_attention_max_distance: 300 },
    lengths: [200],
  },
  "an odd number of buckets": {
    config: { relative_attention_num_buckets: 21, relative_attention_max_distance: 64 },
    lengths: [90],
  },
  "one layer": { config: { num_layers: 1 } },
  "a wide eps": { config: { layer_norm_epsilon: 0.02 } },
};

for (const [name, { config: changes, storage, lengths = [33] }] of Object.entries(t5Cases)) {
  Deno.test(`T5: ${name}`, async () => {
    const config = { ...baseT5, ...changes };
    const { files, weights } = makeNetwork(t5Shapes(config), storage);
    const declared = new DeclaredWeights("t5");
    const parsed = parseConfig(t5Config, JSON.stringify(config), "config.json");
    const model = new T5Encoder(parsed, declared);
    await declared.load(await openCheckpoint(source(files), ""), gpu);
    const component = wgslT5(gpu, model, declared);
    for (const length of lengths) {
      const ids = someIds(length, config.vocab_size);
      const out = gpu.createTensor([1, length, config.d_model], "hidden", "other");
      await component.embed(ids, out);
      const expected = t5Reference(weights, config, ids);
      assertClose(await gpu.readFloats(out), expected, tolerance.module, `${length} tokens`);
    }
    component.dispose();
  });
}

Deno.test("the made networks are worth comparing: two seeds, two results", () => {
  const ids = someIds(9, 290);
  const [a, b] = [1, 2].map((seed) =>
    clipReference(makeNetwork(clipShapes(baseClip), { seed }).weights, baseClip, ids).textEmbeds
  );
  assert.notDeepEqual(a, b);
});
