/**
 * The published models of the family as data. Their repositories differ in the transformer's config
 * alone, and SD3.5-large-turbo from SD3.5-large in nothing but its name.
 */
import type { Recommended } from "../../requests/model_info.ts";
import type { TransformerConfig } from "./configs.ts";

export interface Variant {
  readonly name: string;
  /** What its transformer's config says. */
  readonly transformer: Partial<TransformerConfig>;
  /** Made for few steps without guidance. */
  readonly isDistilled: boolean;
  /** Of the example in its model card. */
  readonly defaults: { readonly numInferenceSteps: number; readonly guidanceScale: number };
  /** For skip-layer guidance, which is no default. */
  readonly recommended?: Recommended;
}

const medium = { num_layers: 24, num_attention_heads: 24, caption_projection_dim: 1536 };
const large: Variant["transformer"] = {
  num_layers: 38,
  num_attention_heads: 38,
  caption_projection_dim: 2432,
  pos_embed_max_size: 192,
  qk_norm: "rms_norm",
  dual_attention_layers: [],
};

export const variants: readonly Variant[] = [
  {
    name: "SD3-medium",
    transformer: { ...medium, pos_embed_max_size: 192, qk_norm: null, dual_attention_layers: [] },
    isDistilled: false,
    defaults: { numInferenceSteps: 28, guidanceScale: 7 },
  },
  {
    name: "SD3.5-medium",
    transformer: {
      ...medium,
      pos_embed_max_size: 384,
      qk_norm: "rms_norm",
      dual_attention_layers: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    },
    isDistilled: false,
    defaults: { numInferenceSteps: 40, guidanceScale: 4.5 },
    recommended: {
      skipGuidanceLayers: [7, 8, 9],
      skipLayerGuidanceScale: 2.8,
      skipLayerGuidanceStart: 0.01,
      skipLayerGuidanceStop: 0.2,
    },
  },
  {
    name: "SD3.5-large",
    transformer: large,
    isDistilled: false,
    defaults: { numInferenceSteps: 28, guidanceScale: 3.5 },
  },
  {
    name: "SD3.5-large-turbo",
    transformer: large,
    isDistilled: true,
    defaults: { numInferenceSteps: 4, guidanceScale: 0 },
  },
];

/** `shift` of the scheduler in all their repositories: another one is of a model made from them. */
const publishedShift = 3;

/** The published model that these files are of, or undefined: then nothing is known of it. */
export function recognizeVariant(
  { name, transformer, shift }: {
    /** The model's name, which may say "turbo". */
    readonly name: string;
    readonly transformer: TransformerConfig;
    readonly shift: unknown;
  },
): Variant | undefined {
  if (shift !== publishedShift) return undefined;
  const isDistilled = /turbo/i.test(name);
  return variants.find((variant) =>
    variant.isDistilled === isDistilled &&
    Object.entries(variant.transformer).every(([field, value]) =>
      JSON.stringify(transformer[field as keyof TransformerConfig]) === JSON.stringify(value)
    )
  );
}
