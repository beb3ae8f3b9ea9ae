/**
 * `CLIPTextModelWithProjection` as an ONNX graph, after transformers' `modeling_clip.py`, with
 * Optimum's names: `input_ids` [batch, sequence] int64 -> `text_embeds` [batch, projection_dim],
 * `last_hidden_state` (after the final norm) and `hidden_states.0` (the embeddings) to
 * `hidden_states.N` (the last layer's output, before the final norm) [batch, sequence, hidden].
 */
import type { ClipTextConfig } from "../../../models/sd3/configs.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import {
  attention,
  extent,
  gelu,
  layerNorm,
  linear,
  mergeHeads,
  quickGelu,
  splitHeads,
} from "./layers.ts";
import { ExportError } from "../errors.ts";

/** `eos_token_id` of configs older than the real value: then the highest id marks the end. */
const legacyEos = 2;

export function buildClip(g: GraphBuilder, config: ClipTextConfig): void {
  const { hidden_size: channels, max_position_embeddings: positions } = config;
  if (channels % config.num_attention_heads !== 0) {
    throw new ExportError(
      `hidden_size ${channels} is not a multiple of num_attention_heads ` +
        `${config.num_attention_heads}`,
    );
  }
  const ids = g.input("input_ids", "i64", ["batch", "sequence"]);
  const sequence = extent(g, ids, 1);
  const states = [g.within("embeddings", () => embed(g, ids, sequence, config))];
  const mask = g.within("mask", () => causalMask(g, sequence, positions));

  for (let i = 0; i < config.num_hidden_layers; i++) {
    const path = `text_model.encoder.layers.${i}`;
    states.push(g.within(path, () => layer(g, states.at(-1)!, mask, path, config)));
  }
  const final = layerNorm(
    g,
    states.at(-1)!,
    "text_model.final_layer_norm",
    channels,
    config.layer_norm_eps,
  );
  const pooled = g.within("pooling", () => poolAtEnd(g, final, ids, config.eos_token_id));
  const embeds = linear(g, pooled, "text_projection", channels, config.projection_dim, {
    bias: false,
  });

  const dims = ["batch", "sequence", channels];
  g.output("text_embeds", embeds, ["batch", config.projection_dim]);
  g.output("last_hidden_state", final, dims);
  for (const [i, state] of states.entries()) g.output(`hidden_states.${i}`, state, dims);
}

function embed(g: GraphBuilder, ids: Value, sequence: Value, config: ClipTextConfig): Value {
  const { hidden_size: channels, max_position_embeddings: positions, vocab_size: vocab } = config;
  const tokens = g.stored("text_model.embeddings.token_embedding.weight", [vocab, channels]);
  const table = g.stored("text_model.embeddings.position_embedding.weight", [positions, channels]);
  // rows are gathered narrow and widened after
  const rows = g.cast(g.op("Gather", [tokens, ids], { axis: 0 }), "f32");
  const first = g.op("Slice", [table, g.ints([0]), sequence, g.ints([0])]);
  return g.op("Add", [rows, g.cast(first, "f32")]);
}

/** [sequence, sequence]: 0 up to the diagonal, the lowest float32 above it. */
function causalMask(g: GraphBuilder, sequence: Value, positions: number): Value {
  const lowest = -3.4028234663852886e38;
  const full = Float32Array.from(
    { length: positions * positions },
    (_, i) => i % positions > Math.floor(i / positions) ? lowest : 0,
  );
  const ends = g.op("Concat", [sequence, sequence], { axis: 0 });
  return g.op("Slice", [
    g.floats(full, [positions, positions]),
    g.ints([0, 0]),
    ends,
    g.ints([0, 1]),
  ]);
}

function layer(
  g: GraphBuilder,
  x: Value,
  mask: Value,
  path: string,
  config: ClipTextConfig,
): Value {
  const { hidden_size: channels, intermediate_size: inner, num_attention_heads: heads } = config;
  const headDim = channels / heads;
  const epsilon = config.layer_norm_eps;
  const normed = layerNorm(g, x, `${path}.layer_norm1`, channels, epsilon);
  const attended = g.within("self_attn", () => {
    const head = (name: string) =>
      splitHeads(
        g,
        linear(g, normed, `${path}.self_attn.${name}`, channels, channels),
        heads,
        headDim,
      );
    const mixed = attention(
      g,
      head("q_proj"),
      head("k_proj"),
      head("v_proj"),
      headDim ** -0.5,
      mask,
    );
    const merged = mergeHeads(g, mixed, channels);
    return linear(g, merged, `${path}.self_attn.out_proj`, channels, channels);
  });
  const hidden = g.op("Add", [x, attended]);
  const second = layerNorm(g, hidden, `${path}.layer_norm2`, channels, epsilon);
  const mlp = g.within("mlp", () => {
    const wide = linear(g, second, `${path}.mlp.fc1`, channels, inner);
    const active = config.hidden_act === "quick_gelu" ? quickGelu(g, wide) : gelu(g, wide);
    return linear(g, active, `${path}.mlp.fc2`, inner, channels);
  });
  return g.op("Add", [hidden, mlp]);
}

/** The hidden state of each row's end token, [batch, hidden]. */
function poolAtEnd(g: GraphBuilder, hidden: Value, ids: Value, eos: number): Value {
  // ArgMax takes the first of equals, in int32 since some runtimes have no int64 ArgMax
  const scores = eos === legacyEos
    ? g.cast(ids, "i32")
    : g.cast(g.op("Equal", [ids, g.int(eos)], {}, "bool"), "i32");
  const end = g.op("ArgMax", [scores], { axis: 1, keepdims: 1 }, "i64");
  return g.op("GatherND", [hidden, end], { batch_dims: 1 });
}
