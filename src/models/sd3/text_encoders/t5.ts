/**
 * T5EncoderModel, version 1.1 (transformers `modeling_t5.py`): token ids to context. No mask: SD3
 * lets padding be attended to.
 */
import type { Gpu } from "../../../gpu/device.ts";
import type { Recorder } from "../../../gpu/recorder.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import { SelfAttention } from "../../../nn/attention.ts";
import { Embedding } from "../../../nn/embedding.ts";
import { Linear } from "../../../nn/linear.ts";
import { RmsNorm } from "../../../nn/norms.ts";
import { gatedGelu } from "../../../ops/gated_gelu.ts";
import type { Parameter } from "../../../weights/parameter.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";
import type { T5Config } from "../configs.ts";

class T5Block {
  readonly #norm1: RmsNorm;
  readonly #attention: SelfAttention;
  readonly #norm2: RmsNorm;
  /** Rows of wi_0 (the gate), then of wi_1. */
  readonly #inner: Linear;
  readonly #outer: Linear;

  constructor(config: T5Config, path: string, weights: DeclaredWeights) {
    const { d_model: channels, d_ff: rows, layer_norm_epsilon: eps } = config;
    this.#norm1 = new RmsNorm(weights, `${path}.layer.0.layer_norm`, channels, eps);
    this.#attention = new SelfAttention(weights, `${path}.layer.0.SelfAttention`, {
      ...{ channels, heads: config.num_heads, headDim: config.d_kv, scale: 1, bias: false },
      names: { qkv: ["q", "k", "v"], out: "o" },
    });
    this.#norm2 = new RmsNorm(weights, `${path}.layer.1.layer_norm`, channels, eps);
    const dense = `${path}.layer.1.DenseReluDense`;
    this.#inner = new Linear(weights, `${dense}.wi`, channels, 2 * rows, {
      bias: false,
      parts: [{ path: `${dense}.wi_0`, rows }, { path: `${dense}.wi_1`, rows }],
    });
    this.#outer = new Linear(weights, `${dense}.wo`, rows, channels, { bias: false });
  }

  /** Updates `x` [B, T, d_model] in place. */
  forward(rec: Recorder, x: Tensor, bias: Tensor): void {
    this.#attention.forward(rec, this.#norm1.forward(rec, x), x, bias);
    const inner = this.#inner.forward(rec, this.#norm2.forward(rec, x));
    const gated = gatedGelu(rec, { x: inner, label: this.#inner.path });
    this.#outer.forward(rec, gated, { into: x });
  }
}

export class T5Encoder {
  readonly config: T5Config;
  readonly #tokens: Embedding;
  readonly #relativeBias: Parameter;
  readonly #blocks: readonly T5Block[];
  readonly #finalNorm: RmsNorm;

  constructor(config: T5Config, weights: DeclaredWeights) {
    this.config = config;
    const { d_model: c, num_heads: heads } = config;
    this.#tokens = new Embedding(weights, "shared", config.vocab_size, c);
    // Saved a second time by some versions of transformers.
    weights.ignore(/^encoder\.embed_tokens\.weight$/);
    this.#blocks = Array.from(
      { length: config.num_layers },
      (_, i) => new T5Block(config, `encoder.block.${i}`, weights),
    );
    this.#relativeBias = weights.table(
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      [config.relative_attention_num_buckets, heads],
    );
    this.#finalNorm = new RmsNorm(
      weights,
      "encoder.final_layer_norm",
      c,
      config.layer_norm_epsilon,
    );
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
    const x = this.#tokens.forward(rec, ids);
    for (const block of this.#blocks) block.forward(rec, x, bias);
    return this.#finalNorm.forward(rec, x);
  }
}
