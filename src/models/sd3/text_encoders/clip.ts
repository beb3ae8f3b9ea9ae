/**
 * CLIPTextModelWithProjection (transformers `modeling_clip.py`): token ids to the hidden states that
 * SD3 uses (the last but one or an earlier one, without final norm) and to the projected text embedding.
 */
import type { Recorder } from "../../../gpu/recorder.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import { SelfAttention } from "../../../nn/attention.ts";
import { Embedding } from "../../../nn/embedding.ts";
import { Linear } from "../../../nn/linear.ts";
import { Mlp } from "../../../nn/mlp.ts";
import { LayerNorm } from "../../../nn/norms.ts";
import { gatherRows } from "../../../ops/gather_rows.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";
import type { ClipTextConfig } from "../configs.ts";

export interface ClipOutput {
  /** [B, T, hidden_size]: `hidden_states[-(skip + 2)]`. */
  readonly hidden: Tensor;
  /** [B, projection_dim]: `text_embeds`. */
  readonly pooled: Tensor;
}

class ClipLayer {
  readonly #norm1: LayerNorm;
  readonly #attention: SelfAttention;
  readonly #norm2: LayerNorm;
  readonly #mlp: Mlp;

  constructor(config: ClipTextConfig, path: string, weights: DeclaredWeights) {
    const { hidden_size: channels, num_attention_heads: heads, layer_norm_eps: eps } = config;
    this.#norm1 = new LayerNorm(weights, `${path}.layer_norm1`, channels, eps);
    this.#attention = new SelfAttention(weights, `${path}.self_attn`, {
      ...{ channels, heads, headDim: channels / heads, causal: true },
      names: { qkv: ["q_proj", "k_proj", "v_proj"], out: "out_proj" },
    });
    this.#norm2 = new LayerNorm(weights, `${path}.layer_norm2`, channels, eps);
    this.#mlp = new Mlp(weights, `${path}.mlp`, {
      names: ["fc1", "fc2"],
      widths: [channels, config.intermediate_size, channels],
      activation: config.hidden_act,
    });
  }

  /** Updates `x` [B, T, hidden_size] in place. */
  forward(rec: Recorder, x: Tensor): void {
    this.#attention.forward(rec, this.#norm1.forward(rec, x), x);
    this.#mlp.forward(rec, this.#norm2.forward(rec, x), { into: x });
  }
}

export class ClipTextModel {
  readonly config: ClipTextConfig;
  readonly #tokens: Embedding;
  readonly #positions: Embedding;
  readonly #layers: readonly ClipLayer[];
  readonly #finalNorm: LayerNorm;
  readonly #projection: Linear;

  constructor(config: ClipTextConfig, weights: DeclaredWeights) {
    this.config = config;
    const { hidden_size: c, max_position_embeddings: length } = config;
    const at = (name: string) => `text_model.${name}`;
    this.#tokens = new Embedding(weights, at("embeddings.token_embedding"), config.vocab_size, c);
    this.#positions = new Embedding(weights, at("embeddings.position_embedding"), length, c);
    weights.ignore(/^text_model\.embeddings\.position_ids$/);
    this.#layers = Array.from(
      { length: config.num_hidden_layers },
      (_, i) => new ClipLayer(config, at(`encoder.layers.${i}`), weights),
    );
    this.#finalNorm = new LayerNorm(weights, at("final_layer_norm"), c, config.layer_norm_eps);
    this.#projection = new Linear(weights, "text_projection", c, config.projection_dim, {
      bias: false,
    });
  }

  /** Where `text_embeds` is taken from: the first end-of-text token, or as old checkpoints find it. */
  poolingIndex(ids: ArrayLike<number>): number {
    const all = Array.from(ids);
    // transformers keeps the arg-max for configs written before eos_token_id was corrected from 2.
    if (this.config.eos_token_id === 2) return all.indexOf(Math.max(...all));
    return Math.max(0, all.indexOf(this.config.eos_token_id));
  }

  /**
   * Records the forward pass.
   *
   * @param ids u32 [B, T]
   * @param pooling u32 [B]: `poolingIndex` of each row
   * @param skip layers that the hidden state, not the pooled text, goes without
   */
  forward(
    rec: Recorder,
    ids: Tensor,
    pooling: Tensor,
    skip = 0,
    observe?: (name: string, tensor: Tensor) => void,
  ): ClipOutput {
    let x = this.#tokens.forward(rec, ids, this.#positions);
    observe?.("hidden_state_0", x);
    let hidden = x;
    for (const [i, layer] of this.#layers.entries()) {
      if (i === this.#layers.length - 1 - skip) {
        // From here on layers work on a copy, since what SD3 reads is their input.
        hidden = x;
        x = rec.alloc(x.shape, "text_model.last_layers");
        rec.copy(hidden, x);
      }
      layer.forward(rec, x);
      observe?.(`hidden_state_${i + 1}`, x);
    }
    // The final norm works row by row, so only the pooled row needs it.
    const row = gatherRows(rec, { x, rows: pooling, label: "text_model.pooled" });
    const normed = this.#finalNorm.forward(rec, row);
    observe?.("pooled_eos", normed);
    return { hidden, pooled: this.#projection.forward(rec, normed) };
  }
}
