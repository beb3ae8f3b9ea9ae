/**
 * `T5EncoderModel` (v1.1: gated gelu, no biases, relative positions) as an ONNX graph, after
 * transformers' `modeling_t5.py`, with Optimum's names: `input_ids` [batch, sequence] int64 ->
 * `last_hidden_state` [batch, sequence, d_model]. There is no attention mask: SD3 attends to the
 * padding.
 */
import type { T5Config } from "../../../models/sd3/configs.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import { attention, extent, geluTanh, linear, mergeHeads, rmsNorm, splitHeads } from "./layers.ts";

export function buildT5(g: GraphBuilder, config: T5Config): void {
  const { d_model: channels, layer_norm_epsilon: epsilon } = config;
  const ids = g.input("input_ids", "i64", ["batch", "sequence"]);
  const table = g.stored("shared.weight", [config.vocab_size, channels]);
  let hidden = g.cast(g.op("Gather", [table, ids], { axis: 0 }), "f32");
  const bias = g.within("relative_attention_bias", () => positionBias(g, ids, config));
  for (let i = 0; i < config.num_layers; i++) {
    const path = `encoder.block.${i}`;
    hidden = g.within(path, () => block(g, hidden, bias, path, config));
  }
  const final = rmsNorm(g, hidden, "encoder.final_layer_norm", channels, epsilon);
  g.output("last_hidden_state", final, ["batch", "sequence", channels]);
}

/**
 * Bucket of every distance -max..max (key minus query), as `_relative_position_bucket` gives it
 * for an encoder; larger distances share the outermost buckets. Each step is rounded to float32
 * as torch does, so the borders fall the same.
 */
export function relativeBuckets(buckets: number, max: number): Int32Array {
  const half = Math.floor(buckets / 2);
  const exact = Math.floor(half / 2);
  const { fround, log } = Math;
  return Int32Array.from({ length: 2 * max + 1 }, (_, i) => {
    const distance = Math.abs(i - max);
    const offset = i - max > 0 ? half : 0;
    if (distance < exact) return offset + distance;
    const ratio = fround(fround(log(fround(distance / exact))) / fround(log(max / exact)));
    const bucket = exact + Math.trunc(fround(ratio * (half - exact)));
    return offset + Math.min(bucket, half - 1);
  });
}

/** [1, heads, sequence, sequence], added to the scores of every layer. */
function positionBias(g: GraphBuilder, ids: Value, config: T5Config): Value {
  const {
    relative_attention_num_buckets: buckets,
    relative_attention_max_distance: max,
    num_heads: heads,
  } = config;
  const weight = g.stored(
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    [buckets, heads],
    { wanted: "f32" },
  );
  const byDistance = g.op("Gather", [weight, g.ints([...relativeBuckets(buckets, max)])], {
    axis: 0,
  });
  const length = g.op("Squeeze", [extent(g, ids, 1), g.ints([0])]);
  const range = g.op("Range", [g.int(0), length, g.int(1)]);
  const distance = g.op("Sub", [
    g.op("Unsqueeze", [range, g.ints([0])]),
    g.op("Unsqueeze", [range, g.ints([1])]),
  ]);
  const clipped = g.op("Min", [g.op("Max", [distance, g.int(-max)]), g.int(max)]);
  const index = g.op("Add", [clipped, g.int(max)]);
  const bias = g.op("Gather", [byDistance, index], { axis: 0 }, "f32");
  const byHead = g.op("Transpose", [bias], { perm: [2, 0, 1] });
  return g.op("Unsqueeze", [byHead, g.ints([0])]);
}

function block(g: GraphBuilder, x: Value, bias: Value, path: string, config: T5Config): Value {
  const { d_model: channels, d_kv: headDim, num_heads: heads, d_ff: inner } = config;
  const epsilon = config.layer_norm_epsilon;
  const attn = `${path}.layer.0.SelfAttention`;
  const normed = rmsNorm(g, x, `${path}.layer.0.layer_norm`, channels, epsilon);
  const attended = g.within("SelfAttention", () => {
    const head = (name: string) =>
      splitHeads(
        g,
        linear(g, normed, `${attn}.${name}`, channels, heads * headDim, { bias: false }),
        heads,
        headDim,
      );
    // T5 does not scale its scores
    const mixed = attention(g, head("q"), head("k"), head("v"), undefined, bias);
    const merged = mergeHeads(g, mixed, heads * headDim);
    return linear(g, merged, `${attn}.o`, heads * headDim, channels, { bias: false });
  });
  const hidden = g.op("Add", [x, attended]);

  const dense = `${path}.layer.1.DenseReluDense`;
  const second = rmsNorm(g, hidden, `${path}.layer.1.layer_norm`, channels, epsilon);
  const fed = g.within("DenseReluDense", () => {
    const gate = geluTanh(g, linear(g, second, `${dense}.wi_0`, channels, inner, { bias: false }));
    const value = linear(g, second, `${dense}.wi_1`, channels, inner, { bias: false });
    // overflows float16 in T5-XXL, so it is computed in float32 always, as transformers does
    return linear(g, g.op("Mul", [gate, value]), `${dense}.wo`, inner, channels, {
      bias: false,
      compute: "f32",
    });
  });
  return g.op("Add", [hidden, fed]);
}
