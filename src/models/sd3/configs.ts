/**
 * The checkpoint's own config.json files, checked field by field: a value that this implementation
 * does not honour is refused by name, never ignored. Defaults are those of the diffusers and
 * transformers classes; field names are kept verbatim.
 */
import { z } from "zod";
import { wrongStart } from "../../weights/wrong_kind.ts";
import { ConfigError } from "../errors.ts";

const count = z.int().positive();
/** Widths of activations: the kernels read them four values at once. */
const width = count.multipleOf(4);

/** `SD3Transformer2DModel`. */
export const transformerConfig = z.object({
  _class_name: z.literal("SD3Transformer2DModel").optional(),
  sample_size: count.default(128),
  patch_size: count.default(2),
  in_channels: count.default(16),
  out_channels: count.nullable().default(16),
  num_layers: count.default(18),
  attention_head_dim: count.default(64),
  num_attention_heads: count.default(18),
  joint_attention_dim: count.default(4096),
  caption_projection_dim: width.default(1152),
  pooled_projection_dim: count.default(2048),
  pos_embed_max_size: count.default(96),
  dual_attention_layers: z.array(z.int().nonnegative()).nullish().transform((v) => v ?? []),
  qk_norm: z.literal("rms_norm").nullish().transform((v) => v ?? null),
}).transform((c) => ({ ...c, out_channels: c.out_channels ?? c.in_channels })).refine(
  (c) => c.caption_projection_dim === c.num_attention_heads * c.attention_head_dim,
  "caption_projection_dim must equal num_attention_heads * attention_head_dim",
);
export type TransformerConfig = z.infer<typeof transformerConfig>;

/** `AutoencoderKL`. */
export const vaeConfig = z.object({
  _class_name: z.literal("AutoencoderKL").optional(),
  in_channels: z.literal(3).default(3),
  out_channels: z.literal(3).default(3),
  down_block_types: z.array(z.literal("DownEncoderBlock2D")).nonempty(),
  up_block_types: z.array(z.literal("UpDecoderBlock2D")).nonempty(),
  block_out_channels: z.array(width).nonempty(),
  layers_per_block: count.default(1),
  act_fn: z.literal("silu").default("silu"),
  latent_channels: count.default(4),
  norm_num_groups: count.default(32),
  sample_size: count.default(32),
  scaling_factor: z.number().default(0.18215),
  shift_factor: z.number().nullish().transform((v) => v ?? 0),
  latents_mean: z.null().optional(),
  latents_std: z.null().optional(),
  use_quant_conv: z.boolean().default(true),
  use_post_quant_conv: z.boolean().default(true),
  mid_block_add_attention: z.boolean().default(true),
}).refine(
  (c) =>
    c.down_block_types.length === c.block_out_channels.length &&
    c.up_block_types.length === c.block_out_channels.length,
  "down_block_types, up_block_types and block_out_channels must have one length",
).refine(
  (c) => c.block_out_channels.every((channels) => channels % c.norm_num_groups === 0),
  "block_out_channels must be multiples of norm_num_groups",
);
export type VaeConfig = z.infer<typeof vaeConfig>;

/** Pixels along one side of a latent value. */
export function vaeScale({ block_out_channels }: VaeConfig): number {
  return 2 ** (block_out_channels.length - 1);
}

/** Bytes of the largest activation for each latent pixel: some level's width at its resolution. */
export function largestPerLatent({ block_out_channels }: VaeConfig): number {
  const widths = block_out_channels.toReversed();
  // The first resnet of level i reads the upsampled output of level i - 1.
  return 4 * Math.max(...widths.map((width, i) => 4 ** i * Math.max(width, widths[i - 1] ?? 0)));
}

/** `CLIPTextModelWithProjection`. */
export const clipTextConfig = z.object({
  vocab_size: count.default(49408),
  hidden_size: width.default(512),
  intermediate_size: count.default(2048),
  projection_dim: count.default(512),
  num_hidden_layers: count.default(12),
  num_attention_heads: count.default(8),
  max_position_embeddings: count.default(77),
  hidden_act: z.enum(["quick_gelu", "gelu"]).default("quick_gelu"),
  layer_norm_eps: z.number().positive().default(1e-5),
  eos_token_id: z.int().default(49407),
});
export type ClipTextConfig = z.infer<typeof clipTextConfig>;

/** `T5EncoderModel`, version 1.1 (gated, no shared position bias beyond block 0's). */
export const t5Config = z.object({
  vocab_size: count.default(32128),
  d_model: width.default(512),
  d_kv: count.default(64),
  d_ff: width.default(2048),
  num_layers: count.default(6),
  num_heads: count.default(8),
  /** Each direction has half of them, half of which are single distances. */
  relative_attention_num_buckets: count.min(4).default(32),
  relative_attention_max_distance: count.default(128),
  layer_norm_epsilon: z.number().positive().default(1e-6),
  feed_forward_proj: z.literal("gated-gelu"),
}).refine(
  (c) => c.relative_attention_max_distance > Math.floor(c.relative_attention_num_buckets / 4),
  "relative_attention_max_distance must exceed a quarter of relative_attention_num_buckets",
);
export type T5Config = z.infer<typeof t5Config>;

/** model_index.json: the pipeline's class, and an entry `[library, class]` for each component. */
export const modelIndex = z.looseObject({ _class_name: z.string() });
export type ModelIndex = z.infer<typeof modelIndex>;

/** Any JSON object: tokenizer and scheduler files are judged by who reads them. */
export const jsonObject = z.record(z.string(), z.unknown());

/** vocab.json: token to id. */
export const vocabulary = z.record(z.string(), z.int().nonnegative());

/** Parses and checks the text of a config file; `path` is for the message. */
export function parseConfig<T extends z.ZodType>(schema: T, text: string, path: string) {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(
      wrongStart(path, text) ?? `${path} is not JSON: ${(error as Error).message}`,
    );
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data as z.infer<T>;
  const problems = parsed.error.issues.map(({ path, message }) => {
    if (path.length === 0) return message;
    const value = path.reduce(
      (at: unknown, key) => (at as Record<PropertyKey, unknown>)?.[key],
      json,
    );
    const got = value === undefined ? "" : `, got ${JSON.stringify(value)}`;
    return `${path.join(".")}: ${message}${got}`;
  });
  throw new ConfigError(`${path} cannot be used:\n  ${problems.join("\n  ")}`);
}
