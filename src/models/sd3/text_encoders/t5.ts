/**
 * T5EncoderModel, version 1.1 (transformers `modeling_t5.py`): token ids to context. No mask: SD3
 * lets padding be attended to.
 */
import type { Gpu } from "../../../gpu/device.ts";
import type { Recorder } from "../../../gpu/program.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import type { T5Config } from "../configs.ts";
import { attention } from "../../../ops/attention.ts";
import { embedding } from "../../../ops/embedding.ts";
import { gatedGelu } from "../../../ops/gated_gelu.ts";
import { linear } from "../../../ops/linear.ts";
import { rmsNorm } from "../../../ops/rms_norm.ts";
import type { Parameter } from "../../../weights/parameter.ts";
import type { WeightPlan } from "../../../weights/plan.ts";

interface T5Block {
  readonly path: string;
  readonly norm1: Parameter;
  readonly qkv: Parameter;
  readonly out: Parameter;
  readonly norm2: Parameter;
  /** Rows of wi_0 (the gate), then of wi_1. */
  readonly inner: Parameter;
  readonly outer: Parameter;
}

export class T5Encoder {
  readonly config: T5Config;
  readonly #tokens: Parameter;
  readonly #relativeBias: Parameter;
  readonly #blocks: readonly T5Block[];
  readonly #finalNorm: Parameter;

  constructor(config: T5Config, plan: WeightPlan) {
    this.config = config;
    const { d_model: c, d_kv, d_ff, num_heads: heads } = config;
    const inner = heads * d_kv;
    this.#tokens = plan.matrix("shared.weight", [config.vocab_size, c], { lookup: true });
    // Saved a second time by some versions of transformers.
    plan.ignore(/^encoder\.embed_tokens\.weight$/);
    this.#blocks = Array.from({ length: config.num_layers }, (_, i) => {
      const path = `encoder.block.${i}`;
      const attn = `${path}.layer.0.SelfAttention`;
      const dense = `${path}.layer.1.DenseReluDense`;
      return {
        path,
        norm1: plan.vector(`${path}.layer.0.layer_norm.weight`, c),
        qkv: plan.matrix([`${attn}.q.weight`, `${attn}.k.weight`, `${attn}.v.weight`], [inner, c]),
        out: plan.matrix(`${attn}.o.weight`, [c, inner]),
        norm2: plan.vector(`${path}.layer.1.layer_norm.weight`, c),
        inner: plan.matrix([`${dense}.wi_0.weight`, `${dense}.wi_1.weight`], [d_ff, c]),
        outer: plan.matrix(`${dense}.wo.weight`, [c, d_ff]),
      };
    });
    this.#relativeBias = plan.table(
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      [config.relative_attention_num_buckets, heads],
    );
    this.#finalNorm = plan.vector("encoder.final_layer_norm.weight", c);
  }

  /**
   * The bias that attention adds to query q and key k, as a table over k - q: [heads, 2T - 1],
   * entry k - q + T - 1. Read back once for each length T.
   */
  async relativeBias(gpu: Gpu, length: number): Promise<Tensor> {
    const { num_heads: heads } = this.config;
    const buckets = await gpu.readFloats(this.#relativeBias.tensor);
    const span = 2 * length - 1;
    const table = new Float32Array(heads * span);
    for (let i = 0; i < span; i++) {
      const bucket = this.#bucket(i - (length - 1));
      for (let h = 0; h < heads; h++) table[h * span + i] = buckets[bucket * heads + h]!;
    }
    return gpu.upload(table, [heads, span], `encoder.relative_bias/${length}`, "weights");
  }

  /** `_relative_position_bucket`, bidirectional. */
  #bucket(distance: number): number {
    const half = Math.floor(this.config.relative_attention_num_buckets / 2);
    const far = distance > 0 ? half : 0;
    const exact = Math.floor(half / 2);
    const n = Math.abs(distance);
    if (n < exact) return far + n;
    const ratio = Math.log(n / exact) /
      Math.log(this.config.relative_attention_max_distance / exact);
    return far + Math.min(half - 1, exact + Math.floor(Math.fround(ratio * (half - exact))));
  }

  /**
   * Records the forward pass: ids u32 [B, T] to [B, T, d_model].
   *
   * @param bias of `relativeBias` for this T
   */
  forward(rec: Recorder, ids: Tensor, bias: Tensor): Tensor {
    const { num_heads: heads, d_kv: headDim, layer_norm_epsilon: eps } = this.config;
    const x = embedding(rec, { ids, table: this.#tokens, label: "shared" });
    for (const block of this.#blocks) {
      const attn = `${block.path}.layer.0`;
      const h = rmsNorm(rec, {
        x,
        weight: block.norm1.tensor,
        eps,
        label: `${attn}.layer_norm`,
      });
      const qkv = linear(rec, { x: h, weight: block.qkv, label: `${attn}.qkv` });
      const [attended] = attention(rec, {
        streams: [qkv],
        heads,
        headDim,
        scale: 1,
        relativeBias: bias,
        label: `${attn}.SelfAttention`,
      });
      linear(rec, { x: attended!, weight: block.out, into: x, label: `${attn}.o` });
      const dense = `${block.path}.layer.1`;
      const m = rmsNorm(rec, {
        x,
        weight: block.norm2.tensor,
        eps,
        label: `${dense}.layer_norm`,
      });
      const inner = linear(rec, { x: m, weight: block.inner, label: `${dense}.wi` });
      const gated = gatedGelu(rec, { x: inner, label: `${dense}.act` });
      linear(rec, { x: gated, weight: block.outer, into: x, label: `${dense}.wo` });
    }
    return rmsNorm(rec, {
      x,
      weight: this.#finalNorm.tensor,
      eps,
      label: "encoder.final_layer_norm",
    });
  }
}
