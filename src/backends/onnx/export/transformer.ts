/**
 * `SD3Transformer2DModel` as an ONNX graph, after diffusers'
 * `models/transformers/transformer_sd3.py`, in its three shapes: without q/k norm (SD3), with
 * (SD3.5 large), and with a second self-attention in some blocks (SD3.5 medium).
 *
 * Inputs and output are float32 in either compute type (a float16 timestep would round 987.38),
 * with Optimum's names: `hidden_states` [batch, channels, height, width], `encoder_hidden_states`
 * [batch, sequence, joint_attention_dim], `pooled_projections` [batch, pooled_projection_dim],
 * `timestep` [batch] -> `out_hidden_states` [batch, out_channels, height, width].
 */
import type { TransformerConfig } from "../../../models/sd3/configs.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import {
  attention,
  conv,
  extent,
  geluTanh,
  layerNorm,
  linear,
  mergeHeads,
  rmsNorm,
  silu,
  splitHeads,
} from "./layers.ts";

/** Channels of the sinusoidal timestep embedding, fixed in diffusers. */
const timestepChannels = 256;
const epsilon = 1e-6;

export function buildTransformer(g: GraphBuilder, config: TransformerConfig): void {
  const channels = config.num_attention_heads * config.attention_head_dim;
  const outChannels = config.out_channels;
  const latents = g.input("hidden_states", "f32", [
    "batch",
    config.in_channels,
    "height",
    "width",
  ]);
  const contextIn = g.input("encoder_hidden_states", "f32", [
    "batch",
    "sequence",
    config.joint_attention_dim,
  ]);
  const pooled = g.input("pooled_projections", "f32", ["batch", config.pooled_projection_dim]);
  const timestep = g.input("timestep", "f32", ["batch"]);

  const rows = g.op("Div", [extent(g, latents, 2), g.ints([config.patch_size])]);
  const columns = g.op("Div", [extent(g, latents, 3), g.ints([config.patch_size])]);

  let hidden = patchEmbed(g, latents, rows, columns, config, channels);
  let context: Value | undefined = linear(
    g,
    contextIn,
    "context_embedder",
    config.joint_attention_dim,
    channels,
  );
  // every block starts from silu(temb), so it is computed once
  const temb = silu(g, timeTextEmbed(g, timestep, pooled, config, channels));

  for (let i = 0; i < config.num_layers; i++) {
    g.within(`transformer_blocks.${i}`, () => {
      [hidden, context] = jointBlock(g, hidden, context!, temb, {
        path: `transformer_blocks.${i}`,
        channels,
        heads: config.num_attention_heads,
        headDim: config.attention_head_dim,
        qkNorm: config.qk_norm === "rms_norm",
        dual: config.dual_attention_layers.includes(i),
        last: i === config.num_layers - 1,
      });
    });
  }

  hidden = normContinuous(g, hidden, temb, "norm_out", channels);
  const patch = config.patch_size;
  hidden = linear(g, hidden, "proj_out", channels, patch * patch * outChannels);
  g.output("out_hidden_states", unpatchify(g, hidden, rows, columns, patch, outChannels), [
    "batch",
    outChannels,
    "height",
    "width",
  ]);
}

/** Patches to tokens, plus the middle of the positional table. -> [B, tokens, channels] */
function patchEmbed(
  g: GraphBuilder,
  latents: Value,
  rows: Value,
  columns: Value,
  config: TransformerConfig,
  channels: number,
): Value {
  return g.within("pos_embed", () => {
    const max = config.pos_embed_max_size;
    const patches = conv(g, latents, "pos_embed.proj", {
      inputs: config.in_channels,
      outputs: channels,
      kernel: config.patch_size,
      stride: config.patch_size,
    });
    const flat = g.op("Reshape", [patches, g.ints([0, channels, -1])]);
    const tokens = g.op("Transpose", [flat], { perm: [0, 2, 1] });
    // cut the narrow table first: the whole of it in float32 is 900 MB in SD3.5 medium
    const table = g.stored("pos_embed.pos_embed", [1, max * max, channels], {
      dims: [max, max, channels],
    });
    const start = (count: Value) => g.op("Div", [g.op("Sub", [g.ints([max]), count]), g.ints([2])]);
    const top = start(rows);
    const left = start(columns);
    const cropped = g.op("Slice", [
      table,
      g.op("Concat", [top, left], { axis: 0 }),
      g.op("Concat", [g.op("Add", [top, rows]), g.op("Add", [left, columns])], { axis: 0 }),
      g.ints([0, 1]),
    ]);
    const positions = g.op("Reshape", [cropped, g.ints([1, -1, channels])]);
    return g.op("Add", [tokens, g.cast(positions, "f32")]);
  });
}

/** Timestep and pooled prompt -> [B, channels]. */
function timeTextEmbed(
  g: GraphBuilder,
  timestep: Value,
  pooled: Value,
  config: TransformerConfig,
  channels: number,
): Value {
  return g.within("time_text_embed", () => {
    const half = timestepChannels / 2;
    // torch computes the exponent in float32
    const frequencies = Float32Array.from(
      { length: half },
      (_, i) => Math.exp(Math.fround(Math.fround(-Math.log(10000) * i) / half)),
    );
    const angles = g.op("Mul", [
      g.op("Unsqueeze", [timestep, g.ints([1])]),
      g.floats(frequencies, [1, half]),
    ]);
    const sinusoid = g.op("Concat", [g.op("Cos", [angles]), g.op("Sin", [angles])], { axis: 1 });
    const embed = (x: Value, path: string, inputs: number) =>
      g.within(path.split(".").at(-1)!, () => {
        const first = linear(g, x, `${path}.linear_1`, inputs, channels);
        return linear(g, silu(g, first), `${path}.linear_2`, channels, channels);
      });
    const time = embed(sinusoid, "time_text_embed.timestep_embedder", timestepChannels);
    const text = embed(pooled, "time_text_embed.text_embedder", config.pooled_projection_dim);
    return g.op("Add", [time, text]);
  });
}

export interface BlockShape {
  readonly path: string;
  readonly channels: number;
  readonly heads: number;
  readonly headDim: number;
  readonly qkNorm: boolean;
  /** Has a second attention among the image tokens. */
  readonly dual: boolean;
  /** Its context output is not used, so it lacks the layers that would make it. */
  readonly last: boolean;
}

/** One `JointTransformerBlock`; `temb` is silu(temb) already. The last block gives no context. */
export function jointBlock(
  g: GraphBuilder,
  hiddenIn: Value,
  contextIn: Value,
  temb: Value,
  shape: BlockShape,
): [hidden: Value, context: Value | undefined] {
  const { path, channels, dual, last } = shape;
  const image = adaptive(g, temb, `${path}.norm1`, channels, dual ? 9 : 6);
  const [shift, scale, gate, shiftMlp, scaleMlp, gateMlp, shift2, scale2, gate2] = image;
  const normed = layerNorm(g, hiddenIn, undefined, channels, epsilon);
  const text = last ? undefined : adaptive(g, temb, `${path}.norm1_context`, channels, 6);
  const contextNormed = text
    ? modulate(g, layerNorm(g, contextIn, undefined, channels, epsilon), text[0]!, text[1]!)
    : normContinuous(g, contextIn, temb, `${path}.norm1_context`, channels);

  const [attended, contextAttended] = jointAttention(
    g,
    modulate(g, normed, shift!, scale!),
    contextNormed,
    shape,
  );
  let hidden = gated(g, hiddenIn, gate!, attended);
  if (dual) {
    const second = selfAttention(g, modulate(g, normed, shift2!, scale2!), shape);
    hidden = gated(g, hidden, gate2!, second);
  }
  const forMlp = modulate(
    g,
    layerNorm(g, hidden, undefined, channels, epsilon),
    shiftMlp!,
    scaleMlp!,
  );
  hidden = gated(g, hidden, gateMlp!, feedForward(g, forMlp, `${path}.ff`, channels));
  if (!text) return [hidden, undefined];

  let context = gated(g, contextIn, text[2]!, contextAttended!);
  const contextForMlp = modulate(
    g,
    layerNorm(g, context, undefined, channels, epsilon),
    text[3]!,
    text[4]!,
  );
  context = gated(
    g,
    context,
    text[5]!,
    feedForward(g, contextForMlp, `${path}.ff_context`, channels),
  );
  return [hidden, context];
}

/** `parts` vectors per sample from silu(temb), each [B, 1, channels]. */
function adaptive(
  g: GraphBuilder,
  temb: Value,
  path: string,
  channels: number,
  parts: number,
): Value[] {
  return g.within(path.split(".").at(-1)!, () => {
    const all = linear(g, temb, `${path}.linear`, channels, parts * channels);
    const broadcast = g.op("Unsqueeze", [all, g.ints([1])]);
    return g.chunks(broadcast, 2, parts, channels);
  });
}

/** `x * (1 + scale) + shift` */
function modulate(g: GraphBuilder, x: Value, shift: Value, scale: Value): Value {
  const factor = g.op("Add", [scale, g.floats(1)]);
  return g.op("Add", [g.op("Mul", [x, factor]), shift]);
}

/** `x + gate * y` */
function gated(g: GraphBuilder, x: Value, gate: Value, y: Value): Value {
  return g.op("Add", [x, g.op("Mul", [y, gate])]);
}

/** `AdaLayerNormContinuous`: here the scale comes first. */
function normContinuous(
  g: GraphBuilder,
  x: Value,
  temb: Value,
  path: string,
  channels: number,
): Value {
  const [scale, shift] = adaptive(g, temb, path, channels, 2);
  return modulate(g, layerNorm(g, x, undefined, channels, epsilon), shift!, scale!);
}

/** Image tokens first, then context tokens, in one attention. */
function jointAttention(
  g: GraphBuilder,
  hidden: Value,
  context: Value,
  shape: BlockShape,
): [hidden: Value, context: Value | undefined] {
  const path = `${shape.path}.attn`;
  const { channels } = shape;
  return g.within("attn", () => {
    const join = (a: Value, b: Value) => g.op("Concat", [a, b], { axis: 2 });
    const q = join(
      project(g, hidden, path, "to_q", "norm_q", shape),
      project(g, context, path, "add_q_proj", "norm_added_q", shape),
    );
    const k = join(
      project(g, hidden, path, "to_k", "norm_k", shape),
      project(g, context, path, "add_k_proj", "norm_added_k", shape),
    );
    const v = join(
      project(g, hidden, path, "to_v", undefined, shape),
      project(g, context, path, "add_v_proj", undefined, shape),
    );
    const attended = mergeHeads(g, attention(g, q, k, v, shape.headDim ** -0.5), channels);
    const tokens = extent(g, hidden, 1);
    const imagePart = g.op("Slice", [attended, g.ints([0]), tokens, g.ints([1])]);
    const image = linear(g, imagePart, `${path}.to_out.0`, channels, channels);
    if (shape.last) return [image, undefined];
    const contextPart = g.op("Slice", [
      attended,
      tokens,
      extent(g, attended, 1),
      g.ints([1]),
    ]);
    return [image, linear(g, contextPart, `${path}.to_add_out`, channels, channels)];
  });
}

function selfAttention(g: GraphBuilder, x: Value, shape: BlockShape): Value {
  const path = `${shape.path}.attn2`;
  return g.within("attn2", () => {
    const q = project(g, x, path, "to_q", "norm_q", shape);
    const k = project(g, x, path, "to_k", "norm_k", shape);
    const v = project(g, x, path, "to_v", undefined, shape);
    const attended = attention(g, q, k, v, shape.headDim ** -0.5);
    const merged = mergeHeads(g, attended, shape.channels);
    return linear(g, merged, `${path}.to_out.0`, shape.channels, shape.channels);
  });
}

/** One of q, k, v as heads, normed per head where the model does so. */
function project(
  g: GraphBuilder,
  x: Value,
  path: string,
  layer: string,
  norm: string | undefined,
  shape: BlockShape,
): Value {
  const { channels, heads, headDim } = shape;
  const projected = linear(g, x, `${path}.${layer}`, channels, channels);
  const split = splitHeads(g, projected, heads, headDim);
  if (!shape.qkNorm || norm === undefined) return split;
  return rmsNorm(g, split, `${path}.${norm}`, headDim, epsilon);
}

function feedForward(g: GraphBuilder, x: Value, path: string, channels: number): Value {
  return g.within(path.split(".").at(-1)!, () => {
    const inner = linear(g, x, `${path}.net.0.proj`, channels, 4 * channels);
    return linear(g, geluTanh(g, inner), `${path}.net.2`, 4 * channels, channels);
  });
}

/** [B, rows * columns, patch * patch * C] -> [B, C, rows * patch, columns * patch] */
function unpatchify(
  g: GraphBuilder,
  x: Value,
  rows: Value,
  columns: Value,
  patch: number,
  channels: number,
): Value {
  const shape = (...dims: Value[]) => g.op("Concat", dims, { axis: 0 });
  const keep = g.ints([0]); // Reshape copies the input's extent where it reads 0
  const p = g.ints([patch]);
  const grid = g.op("Reshape", [x, shape(keep, rows, columns, p, p, g.ints([channels]))]);
  const planes = g.op("Transpose", [grid], { perm: [0, 5, 1, 3, 2, 4] });
  const height = g.op("Mul", [rows, p]);
  const width = g.op("Mul", [columns, p]);
  return g.op("Reshape", [planes, shape(keep, g.ints([channels]), height, width)]);
}
