/**
 * What enters the blocks (diffusers `embeddings.py`): patches with the cropped positional table, the
 * projected context, and the conditioning vector of timestep and pooled text.
 */
import type { Recorder } from "../../../gpu/program.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import type { TransformerConfig } from "../configs.ts";
import { add } from "../../../ops/add.ts";
import { croppedPositions } from "../../../ops/cropped_positions.ts";
import { linear } from "../../../ops/linear.ts";
import { patchify } from "../../../ops/patchify.ts";
import { timestepEmbedding } from "../../../ops/timestep_embedding.ts";
import { type Affine, affine, type WeightPlan } from "./parameters.ts";
import type { Parameter } from "../../../weights/parameter.ts";

/** Width of the sinusoidal embedding (`CombinedTimestepTextProjEmbeddings`). */
const timestepChannels = 256;

export class Embeddings {
  readonly #config: TransformerConfig;
  readonly #positions: Parameter;
  readonly #patch: Affine;
  readonly #context: Affine;
  readonly #timestep: readonly [Affine, Affine];
  readonly #text: readonly [Affine, Affine];

  constructor(config: TransformerConfig, plan: WeightPlan) {
    this.#config = config;
    const { in_channels, patch_size: p, pos_embed_max_size: max, caption_projection_dim: c } =
      config;
    this.#positions = plan.matrix("pos_embed.pos_embed", [max * max, c], {
      storedShapes: [[1, max * max, c]],
      lookup: true,
    });
    this.#patch = {
      weight: plan.matrix("pos_embed.proj.weight", [c, in_channels * p * p], {
        storedShapes: [[c, in_channels, p, p]],
      }),
      bias: plan.vector("pos_embed.proj.bias", c),
    };
    this.#context = affine(plan, "context_embedder", c, config.joint_attention_dim);
    const path = "time_text_embed";
    this.#timestep = [
      affine(plan, `${path}.timestep_embedder.linear_1`, c, timestepChannels),
      affine(plan, `${path}.timestep_embedder.linear_2`, c, c),
    ];
    this.#text = [
      affine(plan, `${path}.text_embedder.linear_1`, c, config.pooled_projection_dim),
      affine(plan, `${path}.text_embedder.linear_2`, c, c),
    ];
  }

  /** Latents [B, C, h, w] to tokens [B, S, hidden] with positions. */
  patches(rec: Recorder, latents: Tensor): Tensor {
    const { patch_size: patch, pos_embed_max_size: maxSize } = this.#config;
    const [batch, , height, width] = latents.shape as [number, number, number, number];
    const columns = patchify(rec, { latents, patch, label: "pos_embed.patchify" });
    const x = croppedPositions(rec, {
      table: this.#positions,
      maxSize,
      height: height / patch,
      width: width / patch,
      batch,
      label: "pos_embed.pos_embed",
    });
    linear(rec, {
      x: columns,
      weight: this.#patch.weight,
      bias: this.#patch.bias.tensor,
      into: x,
      label: "pos_embed.proj",
    });
    return x;
  }

  /** Prompt embeddings [B, T, joint_attention_dim] to [B, T, hidden]; the same at every step. */
  context(rec: Recorder, promptEmbeds: Tensor): Tensor {
    return linear(rec, {
      x: promptEmbeds,
      weight: this.#context.weight,
      bias: this.#context.bias.tensor,
      label: "context_embedder",
    });
  }

  /** Pooled text [B, pooled_projection_dim] to its part of `temb`; the same at every step. */
  pooled(rec: Recorder, pooled: Tensor): Tensor {
    return mlp(rec, pooled, this.#text, "time_text_embed.text_embedder");
  }

  /** `temb` [B, hidden] of timesteps [B] (0 to 1000) and `pooled()`'s result. */
  conditioning(rec: Recorder, timesteps: Tensor, pooled: Tensor): Tensor {
    const path = "time_text_embed.timestep_embedder";
    const sinusoid = timestepEmbedding(rec, {
      timesteps,
      dim: timestepChannels,
      label: "time_text_embed.time_proj",
    });
    const temb = mlp(rec, sinusoid, this.#timestep, path);
    add(rec, { x: pooled, into: temb, label: "time_text_embed.sum" });
    return temb;
  }
}

function mlp(rec: Recorder, x: Tensor, [first, second]: readonly [Affine, Affine], path: string) {
  const hidden = linear(rec, {
    x,
    weight: first.weight,
    bias: first.bias.tensor,
    activation: "silu",
    label: `${path}.linear_1`,
  });
  return linear(rec, {
    x: hidden,
    weight: second.weight,
    bias: second.bias.tensor,
    label: `${path}.linear_2`,
  });
}
