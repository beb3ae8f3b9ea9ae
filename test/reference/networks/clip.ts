/** CLIPTextModelWithProjection in f64, after transformers' `modeling_clip.py`. */
import { addTo, attention, gelu, layerNorm, linear, quickGelu, type Weights } from "./layers.ts";

export interface ClipReferenceConfig {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_act: "quick_gelu" | "gelu";
  readonly layer_norm_eps: number;
  readonly eos_token_id: number;
}

export interface ClipReference {
  /** hidden_states: the embeddings, then each layer's output. */
  readonly hiddenStates: readonly Float64Array[];
  readonly textEmbeds: Float64Array;
}

export function clipReference(
  w: Weights,
  config: ClipReferenceConfig,
  ids: ArrayLike<number>,
): ClipReference {
  const { hidden_size: c, num_attention_heads: heads, layer_norm_eps: eps } = config;
  const act = config.hidden_act === "gelu" ? gelu : quickGelu;
  const tokens = w("text_model.embeddings.token_embedding.weight");
  const positions = w("text_model.embeddings.position_embedding.weight");
  let x: Float64Array = new Float64Array(ids.length * c)
    .map((_, i) => tokens[ids[Math.floor(i / c)]! * c + i % c]! + positions[i]!);
  const hiddenStates = [x];
  for (let n = 0; n < config.num_hidden_layers; n++) {
    const path = `text_model.encoder.layers.${n}`;
    const h = layerNorm(w, `${path}.layer_norm1`, x, c, eps);
    const [q, k, v] = ["q_proj", "k_proj", "v_proj"]
      .map((name) => linear(w, `${path}.self_attn.${name}`, h, c)) as [
        Float64Array,
        Float64Array,
        Float64Array,
      ];
    const attended = attention(q, k, v, {
      heads,
      d: c / heads,
      scale: 1 / Math.sqrt(c / heads),
      bias: (_, i, j) => j > i ? -Infinity : 0,
    });
    x = addTo(x.slice(), linear(w, `${path}.self_attn.out_proj`, attended, c));
    const inner = linear(w, `${path}.mlp.fc1`, layerNorm(w, `${path}.layer_norm2`, x, c, eps), c);
    const width = inner.length / ids.length;
    addTo(x, linear(w, `${path}.mlp.fc2`, inner.map(act), width));
    hiddenStates.push(x);
  }
  const last = layerNorm(w, "text_model.final_layer_norm", x, c, eps);
  const at = poolingToken(ids, config.eos_token_id);
  const row = last.slice(at * c, (at + 1) * c);
  return { hiddenStates, textEmbeds: linear(w, "text_projection", row, c, false) };
}

/** `argmax` keeps the first of equals, and is 0 where no id matches. */
function poolingToken(ids: ArrayLike<number>, eos: number): number {
  let best = 0;
  const score = (i: number) => eos === 2 ? ids[i]! : Number(ids[i] === eos);
  for (let i = 1; i < ids.length; i++) if (score(i) > score(best)) best = i;
  return best;
}
