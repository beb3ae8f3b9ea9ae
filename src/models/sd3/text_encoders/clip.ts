/**
 * CLIPTextModelWithProjection (transformers `modeling_clip.py`): token ids to the hidden states that
 * SD3 uses (the last but one, without final norm) and to the projected text embedding.
 */
import type { Recorder } from "../../../gpu/program.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import type { ClipTextConfig } from "../configs.ts";
import { attention } from "../../../ops/attention.ts";
import { embedding } from "../../../ops/embedding.ts";
import { gatherRows } from "../../../ops/gather_rows.ts";
import { layerNorm } from "../../../ops/layer_norm.ts";
import { linear } from "../../../ops/linear.ts";
import type { Parameter } from "../../../weights/parameter.ts";
import type { WeightPlan } from "../../../weights/plan.ts";

interface Affine {
  readonly weight: Parameter;
  readonly bias: Parameter;
}

interface ClipLayer {
  readonly path: string;
  readonly norm1: Affine;
  readonly qkv: Affine;
  readonly out: Affine;
  readonly norm2: Affine;
  readonly fc1: Affine;
  readonly fc2: Affine;
}

export interface ClipOutput {
  /** [B, T, hidden_size]: `hidden_states[-2]`. */
  readonly penultimate: Tensor;
  /** [B, projection_dim]: `text_embeds`. */
  readonly pooled: Tensor;
}

export class ClipTextModel {
  readonly config: ClipTextConfig;
  readonly #layers: readonly ClipLayer[];
  readonly #tokens: Parameter;
  readonly #positions: Parameter;
  readonly #finalNorm: Affine;
  readonly #projection: Parameter;

  constructor(config: ClipTextConfig, plan: WeightPlan) {
    this.config = config;
    const { hidden_size: c, intermediate_size: f, projection_dim: p } = config;
    const norm = (path: string) => ({
      weight: plan.vector(`${path}.weight`, c),
      bias: plan.vector(`${path}.bias`, c),
    });
    const affine = (paths: string[], out: number, width: number) => ({
      weight: plan.matrix(paths.map((path) => `${path}.weight`), [out, width]),
      bias: plan.vector(paths.map((path) => `${path}.bias`), out),
    });
    const embeddings = "text_model.embeddings";
    this.#tokens = plan.matrix(`${embeddings}.token_embedding.weight`, [config.vocab_size, c], {
      lookup: true,
    });
    this.#positions = plan.matrix(
      `${embeddings}.position_embedding.weight`,
      [config.max_position_embeddings, c],
      { lookup: true },
    );
    plan.ignore(/^text_model\.embeddings\.position_ids$/);
    this.#layers = Array.from({ length: config.num_hidden_layers }, (_, i) => {
      const path = `text_model.encoder.layers.${i}`;
      const attn = `${path}.self_attn`;
      return {
        path,
        norm1: norm(`${path}.layer_norm1`),
        qkv: affine([`${attn}.q_proj`, `${attn}.k_proj`, `${attn}.v_proj`], c, c),
        out: affine([`${attn}.out_proj`], c, c),
        norm2: norm(`${path}.layer_norm2`),
        fc1: affine([`${path}.mlp.fc1`], f, c),
        fc2: affine([`${path}.mlp.fc2`], c, f),
      };
    });
    this.#finalNorm = norm("text_model.final_layer_norm");
    this.#projection = plan.matrix("text_projection.weight", [p, c]);
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
   */
  forward(
    rec: Recorder,
    ids: Tensor,
    pooling: Tensor,
    observe?: (name: string, tensor: Tensor) => void,
  ): ClipOutput {
    const { num_attention_heads: heads, hidden_size: c, layer_norm_eps: eps } = this.config;
    let x = embedding(rec, {
      ids,
      table: this.#tokens,
      positions: this.#positions,
      label: "text_model.embeddings",
    });
    observe?.("hidden_state_0", x);
    let penultimate: Tensor | undefined;
    for (const [i, layer] of this.#layers.entries()) {
      if (i === this.#layers.length - 1) {
        // The last layer works on a copy, since what SD3 reads is its input.
        penultimate = x;
        x = rec.alloc(x.shape, "text_model.last_layer");
        rec.copy(penultimate, x);
      }
      const h = norm(rec, x, layer.norm1, eps, `${layer.path}.layer_norm1`);
      const qkv = affine(rec, h, layer.qkv, `${layer.path}.self_attn.qkv`);
      const [attended] = attention(rec, {
        streams: [qkv],
        heads,
        headDim: c / heads,
        scale: (c / heads) ** -0.5,
        causal: true,
        label: `${layer.path}.self_attn`,
      });
      affine(rec, attended!, layer.out, `${layer.path}.self_attn.out_proj`, { into: x });
      const m = norm(rec, x, layer.norm2, eps, `${layer.path}.layer_norm2`);
      const activation = this.config.hidden_act;
      const inner = affine(rec, m, layer.fc1, `${layer.path}.mlp.fc1`, { activation });
      affine(rec, inner, layer.fc2, `${layer.path}.mlp.fc2`, { into: x });
      observe?.(`hidden_state_${i + 1}`, x);
    }
    // The final norm works row by row, so only the pooled row needs it.
    const row = gatherRows(rec, { x, rows: pooling, label: "text_model.pooled" });
    const normed = norm(rec, row, this.#finalNorm, eps, "text_model.final_layer_norm");
    observe?.("pooled_eos", normed);
    const pooled = linear(rec, {
      x: normed,
      weight: this.#projection,
      label: "text_projection",
    });
    rec.keep(penultimate!);
    return { penultimate: penultimate!, pooled };
  }
}

function norm(rec: Recorder, x: Tensor, { weight, bias }: Affine, eps: number, label: string) {
  return layerNorm(rec, { x, weight: weight.tensor, bias: bias.tensor, eps, label });
}

function affine(
  rec: Recorder,
  x: Tensor,
  { weight, bias }: Affine,
  label: string,
  extra: { into?: Tensor; activation?: "gelu" | "quick_gelu" } = {},
): Tensor {
  return linear(rec, { x, weight, bias: bias.tensor, label, ...extra });
}
