/** Configs to start from, each unlike the fixture's; tests change a field or two. */
import type { ClipConfig, T5Config, TransformerConfig, VaeConfig } from "./shapes.ts";

export const clip: ClipConfig = {
  vocab_size: 300,
  hidden_size: 40,
  intermediate_size: 96,
  projection_dim: 24,
  num_hidden_layers: 2,
  num_attention_heads: 5,
  max_position_embeddings: 30,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
  eos_token_id: 299,
};

export const t5: T5Config = {
  vocab_size: 300,
  d_model: 72,
  d_kv: 16,
  d_ff: 100,
  num_layers: 2,
  num_heads: 3,
  relative_attention_num_buckets: 32,
  relative_attention_max_distance: 128,
  layer_norm_epsilon: 1e-6,
  feed_forward_proj: "gated-gelu",
};

export const transformer: TransformerConfig = {
  sample_size: 8,
  patch_size: 2,
  in_channels: 16,
  out_channels: 16,
  num_layers: 2,
  attention_head_dim: 64,
  num_attention_heads: 2,
  joint_attention_dim: 72,
  caption_projection_dim: 128,
  pooled_projection_dim: 40,
  pos_embed_max_size: 24,
  dual_attention_layers: [],
  qk_norm: null,
};

/** Heads and their width, and what follows from them. */
export function heads(count: number, width: number) {
  return {
    num_attention_heads: count,
    attention_head_dim: width,
    caption_projection_dim: count * width,
  };
}

export const vae: VaeConfig = levels([24, 40, 48]);

/** An autoencoder of these widths, finest level first. */
export function levels(widths: readonly number[], rest: Partial<VaeConfig> = {}): VaeConfig {
  return {
    in_channels: 3,
    out_channels: 3,
    down_block_types: widths.map(() => "DownEncoderBlock2D"),
    up_block_types: widths.map(() => "UpDecoderBlock2D"),
    block_out_channels: widths,
    layers_per_block: 1,
    latent_channels: 16,
    norm_num_groups: 8,
    scaling_factor: 1.5305,
    shift_factor: 0.0609,
    use_quant_conv: false,
    use_post_quant_conv: false,
    mid_block_add_attention: true,
    ...rest,
  };
}
