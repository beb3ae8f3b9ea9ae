/**
 * Every tensor of a checkpoint by name and shape, as diffusers and transformers save them. Written
 * from their classes, not from what our loader asks for.
 */
export type Shapes = Map<string, readonly number[]>;

export interface ClipConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly projection_dim: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly max_position_embeddings: number;
  readonly hidden_act: "quick_gelu" | "gelu";
  readonly layer_norm_eps: number;
  readonly eos_token_id: number;
}

export interface T5Config {
  readonly vocab_size: number;
  readonly d_model: number;
  readonly d_kv: number;
  readonly d_ff: number;
  readonly num_layers: number;
  readonly num_heads: number;
  readonly relative_attention_num_buckets: number;
  readonly relative_attention_max_distance: number;
  readonly layer_norm_epsilon: number;
  readonly feed_forward_proj: "gated-gelu";
}

export interface TransformerConfig {
  readonly sample_size: number;
  readonly patch_size: number;
  readonly in_channels: number;
  readonly out_channels: number;
  readonly num_layers: number;
  readonly attention_head_dim: number;
  readonly num_attention_heads: number;
  readonly joint_attention_dim: number;
  readonly caption_projection_dim: number;
  readonly pooled_projection_dim: number;
  readonly pos_embed_max_size: number;
  readonly dual_attention_layers: readonly number[];
  readonly qk_norm: "rms_norm" | null;
}

export interface VaeConfig {
  readonly in_channels: number;
  readonly out_channels: number;
  readonly down_block_types: readonly string[];
  readonly up_block_types: readonly string[];
  readonly block_out_channels: readonly number[];
  readonly layers_per_block: number;
  readonly latent_channels: number;
  readonly norm_num_groups: number;
  readonly scaling_factor: number;
  readonly shift_factor: number;
  readonly use_quant_conv: boolean;
  readonly use_post_quant_conv: boolean;
  readonly mid_block_add_attention: boolean;
}

function affine(shapes: Shapes, path: string, outputs: number, ...inputs: number[]): void {
  shapes.set(`${path}.weight`, [outputs, ...inputs]);
  shapes.set(`${path}.bias`, [outputs]);
}

function norm(shapes: Shapes, path: string, width: number): void {
  shapes.set(`${path}.weight`, [width]);
  shapes.set(`${path}.bias`, [width]);
}

/** CLIPTextModelWithProjection. */
export function clipShapes(config: ClipConfig): Shapes {
  const { hidden_size: c, intermediate_size: f } = config;
  const shapes: Shapes = new Map();
  const embeddings = "text_model.embeddings";
  shapes.set(`${embeddings}.token_embedding.weight`, [config.vocab_size, c]);
  shapes.set(`${embeddings}.position_embedding.weight`, [config.max_position_embeddings, c]);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const path = `text_model.encoder.layers.${i}`;
    for (const name of ["q_proj", "k_proj", "v_proj", "out_proj"]) {
      affine(shapes, `${path}.self_attn.${name}`, c, c);
    }
    norm(shapes, `${path}.layer_norm1`, c);
    affine(shapes, `${path}.mlp.fc1`, f, c);
    affine(shapes, `${path}.mlp.fc2`, c, f);
    norm(shapes, `${path}.layer_norm2`, c);
  }
  norm(shapes, "text_model.final_layer_norm", c);
  shapes.set("text_projection.weight", [config.projection_dim, c]);
  return shapes;
}

/** T5EncoderModel. */
export function t5Shapes(config: T5Config): Shapes {
  const { d_model: c, d_ff: f, num_heads: heads } = config;
  const inner = heads * config.d_kv;
  const shapes: Shapes = new Map([["shared.weight", [config.vocab_size, c]]]);
  for (let i = 0; i < config.num_layers; i++) {
    const path = `encoder.block.${i}`;
    const attn = `${path}.layer.0.SelfAttention`;
    for (const name of ["q", "k", "v"]) shapes.set(`${attn}.${name}.weight`, [inner, c]);
    shapes.set(`${attn}.o.weight`, [c, inner]);
    if (i === 0) {
      shapes.set(`${attn}.relative_attention_bias.weight`, [
        config.relative_attention_num_buckets,
        heads,
      ]);
    }
    shapes.set(`${path}.layer.0.layer_norm.weight`, [c]);
    const dense = `${path}.layer.1.DenseReluDense`;
    shapes.set(`${dense}.wi_0.weight`, [f, c]);
    shapes.set(`${dense}.wi_1.weight`, [f, c]);
    shapes.set(`${dense}.wo.weight`, [c, f]);
    shapes.set(`${path}.layer.1.layer_norm.weight`, [c]);
  }
  return shapes.set("encoder.final_layer_norm.weight", [c]);
}

/** SD3Transformer2DModel. */
export function transformerShapes(config: TransformerConfig): Shapes {
  const { patch_size: p, num_layers, attention_head_dim: d, joint_attention_dim } = config;
  const c = config.num_attention_heads * d;
  const shapes: Shapes = new Map();
  affine(shapes, "pos_embed.proj", c, config.in_channels, p, p);
  shapes.set("pos_embed.pos_embed", [1, config.pos_embed_max_size ** 2, c]);
  affine(shapes, "context_embedder", config.caption_projection_dim, joint_attention_dim);
  affine(shapes, "time_text_embed.timestep_embedder.linear_1", c, 256);
  affine(shapes, "time_text_embed.timestep_embedder.linear_2", c, c);
  affine(shapes, "time_text_embed.text_embedder.linear_1", c, config.pooled_projection_dim);
  affine(shapes, "time_text_embed.text_embedder.linear_2", c, c);
  for (let i = 0; i < num_layers; i++) {
    const path = `transformer_blocks.${i}`;
    const last = i === num_layers - 1;
    const dual = config.dual_attention_layers.includes(i);
    affine(shapes, `${path}.norm1.linear`, (dual ? 9 : 6) * c, c);
    affine(shapes, `${path}.norm1_context.linear`, (last ? 2 : 6) * c, c);
    const attention = (attn: string, projections: string[], norms: string[]) => {
      for (const name of projections) affine(shapes, `${path}.${attn}.${name}`, c, c);
      if (!config.qk_norm) return;
      for (const name of norms) shapes.set(`${path}.${attn}.${name}.weight`, [d]);
    };
    const own = ["to_q", "to_k", "to_v", "to_out.0"];
    const added = ["add_q_proj", "add_k_proj", "add_v_proj"];
    attention("attn", own, ["norm_q", "norm_k"]);
    attention("attn", last ? added : [...added, "to_add_out"], ["norm_added_q", "norm_added_k"]);
    if (dual) attention("attn2", own, ["norm_q", "norm_k"]);
    for (const name of last ? ["ff"] : ["ff", "ff_context"]) {
      affine(shapes, `${path}.${name}.net.0.proj`, 4 * c, c);
      affine(shapes, `${path}.${name}.net.2`, c, 4 * c);
    }
  }
  affine(shapes, "norm_out.linear", 2 * c, c);
  affine(shapes, "proj_out", p * p * config.out_channels, c);
  return shapes;
}

/** AutoencoderKL, encoder and decoder. */
export function vaeShapes(config: VaeConfig): Shapes {
  const { block_out_channels: widths, latent_channels: latent, layers_per_block } = config;
  const shapes: Shapes = new Map();
  const conv = (path: string, inputs: number, outputs: number, size = 3) =>
    affine(shapes, path, outputs, inputs, size, size);
  const resnet = (path: string, inputs: number, outputs: number) => {
    norm(shapes, `${path}.norm1`, inputs);
    conv(`${path}.conv1`, inputs, outputs);
    norm(shapes, `${path}.norm2`, outputs);
    conv(`${path}.conv2`, outputs, outputs);
    if (inputs !== outputs) conv(`${path}.conv_shortcut`, inputs, outputs, 1);
  };
  const mid = (path: string, width: number) => {
    if (config.mid_block_add_attention) {
      norm(shapes, `${path}.attentions.0.group_norm`, width);
      for (const name of ["to_q", "to_k", "to_v", "to_out.0"]) {
        affine(shapes, `${path}.attentions.0.${name}`, width, width);
      }
    }
    resnet(`${path}.resnets.0`, width, width);
    resnet(`${path}.resnets.1`, width, width);
  };
  const [first, last] = [widths[0]!, widths.at(-1)!];
  conv("encoder.conv_in", config.in_channels, first);
  widths.forEach((width, i) => {
    const path = `encoder.down_blocks.${i}`;
    for (let j = 0; j < layers_per_block; j++) {
      resnet(`${path}.resnets.${j}`, j ? width : widths[Math.max(0, i - 1)]!, width);
    }
    if (i < widths.length - 1) conv(`${path}.downsamplers.0.conv`, width, width);
  });
  mid("encoder.mid_block", last);
  norm(shapes, "encoder.conv_norm_out", last);
  conv("encoder.conv_out", last, 2 * latent);
  conv("decoder.conv_in", latent, last);
  const up = widths.toReversed();
  up.forEach((width, i) => {
    const path = `decoder.up_blocks.${i}`;
    for (let j = 0; j <= layers_per_block; j++) {
      resnet(`${path}.resnets.${j}`, j ? width : up[Math.max(0, i - 1)]!, width);
    }
    if (i < widths.length - 1) conv(`${path}.upsamplers.0.conv`, width, width);
  });
  mid("decoder.mid_block", last);
  norm(shapes, "decoder.conv_norm_out", first);
  conv("decoder.conv_out", first, config.out_channels);
  if (config.use_quant_conv) conv("quant_conv", 2 * latent, 2 * latent, 1);
  if (config.use_post_quant_conv) conv("post_quant_conv", latent, latent, 1);
  return shapes;
}
