/**
 * SD3Transformer2DModel (diffusers `transformer_sd3.py`): one velocity prediction. All three shapes
 * (SD3-medium, SD3.5-large, SD3.5-medium) are this one class; the config decides.
 */
import type { Recorder } from "../../../gpu/recorder.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import type { TransformerConfig } from "../configs.ts";
import { Linear } from "../../../nn/linear.ts";
import { layerNorm } from "../../../ops/layer_norm.ts";
import { unpatchify } from "../../../ops/unpatchify.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";
import { Embeddings } from "./embeddings.ts";
import { JointBlock } from "./joint_block.ts";
import {
  continuous,
  type ModulatedLayer,
  type Modulation,
  ModulationBuilder,
  normEps,
} from "./modulation.ts";

export interface VelocityInputs {
  /** f32 [B, in_channels, h, w] */
  readonly latents: Tensor;
  /** f32 [B], sigma * 1000, not rounded. */
  readonly timesteps: Tensor;
  /** [B, T, hidden], of `embedContext`. */
  readonly context: Tensor;
  /** [B, hidden], of `embedPooled`. */
  readonly pooled: Tensor;
}

/** Hears intermediate tensors by diffusers' module names; they are valid until the next dispatch. */
export type Observer = (name: string, tensor: Tensor) => void;

export class MMDiT {
  readonly config: TransformerConfig;
  readonly #embeddings: Embeddings;
  readonly #blocks: readonly JointBlock[];
  readonly #modulation: Modulation;
  readonly #normOut: ModulatedLayer<typeof continuous[number]>;
  readonly #projOut: Linear;

  constructor(config: TransformerConfig, weights: DeclaredWeights) {
    this.config = config;
    const { caption_projection_dim: c, patch_size: p, out_channels } = config;
    const builder = new ModulationBuilder(c);
    this.#embeddings = new Embeddings(config, weights);
    this.#blocks = Array.from(
      { length: config.num_layers },
      (_, i) => new JointBlock(config, i, weights, builder),
    );
    this.#normOut = builder.layer("norm_out.linear", continuous);
    this.#modulation = builder.build(weights);
    this.#projOut = new Linear(weights, "proj_out", c, p * p * out_channels);
  }

  /** Projects prompt embeddings [B, T, joint_attention_dim] once for all steps. */
  embedContext(rec: Recorder, promptEmbeds: Tensor): Tensor {
    return this.#embeddings.context(rec, promptEmbeds);
  }

  /** Projects pooled prompt embeddings [B, pooled_projection_dim] once for all steps. */
  embedPooled(rec: Recorder, pooled: Tensor): Tensor {
    return this.#embeddings.pooled(rec, pooled);
  }

  /**
   * Records one prediction and returns the velocity [B, out_channels, h, w].
   *
   * @param skipLayers blocks left out, for skip-layer guidance
   */
  forward(
    rec: Recorder,
    inputs: VelocityInputs,
    skipLayers: readonly number[] = [],
    observe?: Observer,
  ): Tensor {
    const { patch_size: patch, out_channels: channels } = this.config;
    const [, , height, width] = inputs.latents.shape as [number, number, number, number];

    const temb = this.#embeddings.conditioning(rec, inputs.timesteps, inputs.pooled);
    observe?.("temb", temb);
    const vectors = this.#modulation.forward(rec, temb);
    const x = this.#embeddings.patches(rec, inputs.latents);
    observe?.("pos_embed_out", x);
    // The blocks update the context in place, and the next step starts from the same one.
    const context = rec.alloc(inputs.context.shape, "context");
    rec.copy(inputs.context, context);

    for (const [i, block] of this.#blocks.entries()) {
      if (skipLayers.includes(i)) continue;
      block.forward(rec, x, context, vectors);
      observe?.(`block_${i}_hidden`, x);
      observe?.(`block_${i}_context`, context);
    }

    const modulated = this.#normOut.of(vectors);
    const normed = layerNorm(rec, { x, ...modulated, eps: normEps, label: "norm_out" });
    observe?.("norm_out", normed);
    const patches = this.#projOut.forward(rec, normed);
    observe?.("proj_out", patches);
    return unpatchify(rec, {
      x: patches,
      patch,
      channels,
      height: height / patch,
      width: width / patch,
      label: "unpatchify",
    });
  }
}
