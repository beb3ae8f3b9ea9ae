/** T5EncoderModel with gated gelu in f64, after transformers' `modeling_t5.py`. */
import { addTo, attention, geluTanh, linear, rmsNorm, type Weights } from "./layers.ts";

export interface T5ReferenceConfig {
  readonly d_model: number;
  readonly d_kv: number;
  readonly num_layers: number;
  readonly num_heads: number;
  readonly relative_attention_num_buckets: number;
  readonly relative_attention_max_distance: number;
  readonly layer_norm_epsilon: number;
}

/** Last hidden state [T, d_model]. */
export function t5Reference(
  w: Weights,
  config: T5ReferenceConfig,
  ids: ArrayLike<number>,
): Float64Array {
  const { d_model: c, d_kv: d, num_heads: heads, layer_norm_epsilon: eps } = config;
  const tokens = w("shared.weight");
  const x = new Float64Array(ids.length * c)
    .map((_, i) => tokens[ids[Math.floor(i / c)]! * c + i % c]!);
  const table = w("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
  for (let n = 0; n < config.num_layers; n++) {
    const attn = `encoder.block.${n}.layer.0`;
    const h = rmsNorm(w(`${attn}.layer_norm.weight`), x, eps);
    const [q, k, v] = ["q", "k", "v"]
      .map((name) => linear(w, `${attn}.SelfAttention.${name}`, h, c, false)) as [
        Float64Array,
        Float64Array,
        Float64Array,
      ];
    const attended = attention(q, k, v, {
      heads,
      d,
      scale: 1,
      bias: (head, i, j) => table[bucket(j - i, config) * heads + head]!,
    });
    addTo(x, linear(w, `${attn}.SelfAttention.o`, attended, heads * d, false));
    const dense = `encoder.block.${n}.layer.1`;
    const m = rmsNorm(w(`${dense}.layer_norm.weight`), x, eps);
    const gate = linear(w, `${dense}.DenseReluDense.wi_0`, m, c, false);
    const value = linear(w, `${dense}.DenseReluDense.wi_1`, m, c, false);
    const inner = gate.map((g, i) => geluTanh(g) * value[i]!);
    addTo(x, linear(w, `${dense}.DenseReluDense.wo`, inner, inner.length / ids.length, false));
  }
  return rmsNorm(w("encoder.final_layer_norm.weight"), x, eps);
}

/** `_relative_position_bucket(bidirectional=True)`, with torch's float32 at every operation. */
export function bucket(relative: number, config: T5ReferenceConfig): number {
  const { fround, log, trunc, min, abs } = Math;
  const buckets = trunc(config.relative_attention_num_buckets / 2);
  const side = relative > 0 ? buckets : 0;
  const distance = abs(relative);
  const maxExact = trunc(buckets / 2);
  if (distance < maxExact) return side + distance;
  const ratio = fround(
    fround(log(fround(distance / maxExact))) /
      fround(log(config.relative_attention_max_distance / maxExact)),
  );
  const large = maxExact + trunc(fround(ratio * (buckets - maxExact)));
  return side + min(large, buckets - 1);
}
