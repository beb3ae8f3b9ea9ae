/**
 * SD3Transformer2DModel in f64 for one sample, after diffusers' `transformer_sd3.py`,
 * `attention.py` (JointTransformerBlock), `normalization.py` and `embeddings.py`.
 */
import {
  addTo,
  attention,
  geluTanh,
  join,
  linear,
  normalise,
  type Observe,
  rmsNorm,
  silu,
  type Weights,
} from "./layers.ts";

export interface TransformerReferenceConfig {
  readonly patch_size: number;
  readonly in_channels: number;
  readonly out_channels: number;
  readonly num_layers: number;
  readonly attention_head_dim: number;
  readonly num_attention_heads: number;
  readonly joint_attention_dim: number;
  readonly pooled_projection_dim: number;
  readonly pos_embed_max_size: number;
  readonly dual_attention_layers: readonly number[];
  readonly qk_norm: "rms_norm" | null;
}

export interface TransformerReferenceInputs {
  /** [in_channels, height, width] */
  readonly latents: ArrayLike<number>;
  readonly height: number;
  readonly width: number;
  readonly timestep: number;
  /** [T, joint_attention_dim] */
  readonly context: Float64Array;
  /** [pooled_projection_dim] */
  readonly pooled: Float64Array;
  readonly skipLayers?: readonly number[];
}

const eps = 1e-6;

/** The velocity [out_channels, height, width]. */
export function transformerReference(
  w: Weights,
  config: TransformerReferenceConfig,
  inputs: TransformerReferenceInputs,
  observe: Observe = () => {},
): Float64Array {
  const c = config.num_attention_heads * config.attention_head_dim;
  const temb = conditioning(w, config, inputs, c);
  observe("temb", temb);
  let x = patchEmbed(w, config, inputs, c);
  observe("pos_embed_out", x);
  let context: Float64Array = linear(
    w,
    "context_embedder",
    inputs.context,
    config.joint_attention_dim,
  );
  observe("context_embedder_out", context);
  for (let n = 0; n < config.num_layers; n++) {
    if (inputs.skipLayers?.includes(n)) continue;
    const last = n === config.num_layers - 1;
    [x, context] = block(w, config, n, x, context, temb);
    observe(`block_${n}_hidden`, x);
    if (!last) observe(`block_${n}_context`, context);
  }
  // AdaLayerNormContinuous: scale first, then shift.
  const [scale, shift] = chunks(w, "norm_out.linear", temb, c) as [Float64Array, Float64Array];
  x = modulate(x, shift, scale);
  observe("norm_out", x);
  const patches = linear(w, "proj_out", x, c);
  observe("proj_out", patches);
  return unpatchify(config, inputs, patches);
}

/** CombinedTimestepTextProjEmbeddings. */
function conditioning(
  w: Weights,
  config: TransformerReferenceConfig,
  { timestep, pooled }: TransformerReferenceInputs,
  c: number,
): Float64Array {
  const sinusoid = new Float64Array(256).map((_, i) => {
    // torch computes the frequencies and their product with the timestep in float32.
    const exponent = Math.fround(Math.fround(Math.fround(-Math.log(10000)) * (i % 128)) / 128);
    const angle = Math.fround(Math.fround(timestep) * Math.fround(Math.exp(exponent)));
    return i < 128 ? Math.cos(angle) : Math.sin(angle);
  });
  const mlp = (name: string, input: Float64Array, width: number) =>
    linear(
      w,
      `time_text_embed.${name}.linear_2`,
      linear(w, `time_text_embed.${name}.linear_1`, input, width).map(silu),
      c,
    );
  const time = mlp("timestep_embedder", sinusoid, 256);
  return addTo(time, mlp("text_embedder", pooled, config.pooled_projection_dim));
}

/** PatchEmbed: a strided convolution and the middle of the positional table. */
function patchEmbed(
  w: Weights,
  { patch_size: p, in_channels, pos_embed_max_size: max }: TransformerReferenceConfig,
  { latents, height, width }: TransformerReferenceInputs,
  c: number,
): Float64Array {
  const kernel = w("pos_embed.proj.weight");
  const bias = w("pos_embed.proj.bias");
  const table = w("pos_embed.pos_embed");
  const [rows, columns] = [height / p, width / p];
  const top = Math.floor((max - rows) / 2);
  const left = Math.floor((max - columns) / 2);
  const y = new Float64Array(rows * columns * c);
  for (let r = 0; r < rows; r++) {
    for (let q = 0; q < columns; q++) {
      for (let o = 0; o < c; o++) {
        let sum = bias[o]! + table[((top + r) * max + left + q) * c + o]!;
        for (let i = 0; i < in_channels; i++) {
          for (let u = 0; u < p; u++) {
            for (let v = 0; v < p; v++) {
              sum += latents[(i * height + r * p + u) * width + q * p + v]! *
                kernel[((o * in_channels + i) * p + u) * p + v]!;
            }
          }
        }
        y[(r * columns + q) * c + o] = sum;
      }
    }
  }
  return y;
}

/** "nhwpqc->nchpwq" */
function unpatchify(
  { patch_size: p, out_channels }: TransformerReferenceConfig,
  { height, width }: TransformerReferenceInputs,
  patches: Float64Array,
): Float64Array {
  const [rows, columns] = [height / p, width / p];
  const y = new Float64Array(out_channels * height * width);
  for (let r = 0; r < rows; r++) {
    for (let q = 0; q < columns; q++) {
      for (let u = 0; u < p; u++) {
        for (let v = 0; v < p; v++) {
          for (let o = 0; o < out_channels; o++) {
            y[(o * height + r * p + u) * width + q * p + v] =
              patches[(((r * columns + q) * p + u) * p + v) * out_channels + o]!;
          }
        }
      }
    }
  }
  return y;
}

/** The vectors of width `c` that a modulation layer makes of silu(temb). */
function chunks(w: Weights, path: string, temb: Float64Array, c: number): Float64Array[] {
  const all = linear(w, path, temb.map(silu), c);
  return Array.from({ length: all.length / c }, (_, i) => all.slice(i * c, (i + 1) * c));
}

function modulate(x: Float64Array, shift: Float64Array, scale: Float64Array): Float64Array {
  const c = shift.length;
  return normalise(x, c, eps).map((v, i) => v * (1 + scale[i % c]!) + shift[i % c]!);
}

function gated(x: Float64Array, gate: Float64Array, y: Float64Array): Float64Array {
  return x.map((v, i) => v + gate[i % gate.length]! * y[i]!);
}

function block(
  w: Weights,
  config: TransformerReferenceConfig,
  index: number,
  x: Float64Array,
  context: Float64Array,
  temb: Float64Array,
): [Float64Array, Float64Array] {
  const { num_attention_heads: heads, attention_head_dim: d, qk_norm } = config;
  const c = heads * d;
  const path = `transformer_blocks.${index}`;
  const last = index === config.num_layers - 1;
  const dual = config.dual_attention_layers.includes(index);
  const options = { heads, d, scale: 1 / Math.sqrt(d) };

  const project = (attn: string, input: Float64Array, names: string[], norms: string[]) =>
    names.map((name, i) => {
      const y = linear(w, `${path}.${attn}.${name}`, input, c);
      return qk_norm && i < 2 ? rmsNorm(w(`${path}.${attn}.${norms[i]}.weight`), y, eps) : y;
    }) as [Float64Array, Float64Array, Float64Array];
  const own = [["to_q", "to_k", "to_v"], ["norm_q", "norm_k"]] as const;

  const m = chunks(w, `${path}.norm1.linear`, temb, c);
  const mc = chunks(w, `${path}.norm1_context.linear`, temb, c);
  const [q, k, v] = project("attn", modulate(x, m[0]!, m[1]!), [...own[0]], [...own[1]]);
  const normedContext = last
    ? modulate(context, mc[1]!, mc[0]!)
    : modulate(context, mc[0]!, mc[1]!);
  const [cq, ck, cv] = project(
    "attn",
    normedContext,
    ["add_q_proj", "add_k_proj", "add_v_proj"],
    ["norm_added_q", "norm_added_k"],
  );
  const attended = attention(join(q, cq), join(k, ck), join(v, cv), options);
  const xOut = linear(w, `${path}.attn.to_out.0`, attended.slice(0, x.length), c);
  let hidden = gated(x, m[2]!, xOut);
  if (dual) {
    const [q2, k2, v2] = project("attn2", modulate(x, m[6]!, m[7]!), [...own[0]], [...own[1]]);
    const out2 = linear(w, `${path}.attn2.to_out.0`, attention(q2, k2, v2, options), c);
    hidden = gated(hidden, m[8]!, out2);
  }
  const feedForward = (name: string, input: Float64Array) =>
    linear(
      w,
      `${path}.${name}.net.2`,
      linear(w, `${path}.${name}.net.0.proj`, input, c).map(geluTanh),
      4 * c,
    );
  hidden = gated(hidden, m[5]!, feedForward("ff", modulate(hidden, m[3]!, m[4]!)));
  if (last) return [hidden, context];
  const cOut = linear(w, `${path}.attn.to_add_out`, attended.slice(x.length), c);
  let text = gated(context, mc[2]!, cOut);
  text = gated(text, mc[5]!, feedForward("ff_context", modulate(text, mc[3]!, mc[4]!)));
  return [hidden, text];
}
