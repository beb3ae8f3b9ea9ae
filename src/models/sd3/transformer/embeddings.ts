/**
 * What enters the blocks (diffusers `embeddings.py`): patches with the cropped positional table, the
 * projected context, and the conditioning vector of timestep and pooled text.
 */
import type { Recorder } from "../../../gpu/recorder.ts";
import type { Tensor } from "../../../gpu/tensor.ts";
import { Linear } from "../../../nn/linear.ts";
import { Mlp } from "../../../nn/mlp.ts";
import { add } from "../../../ops/add.ts";
import { croppedPositions } from "../../../ops/cropped_positions.ts";
import { patchify } from "../../../ops/patchify.ts";
import { timestepEmbedding } from "../../../ops/timestep_embedding.ts";
import type { Parameter } from "../../../weights/parameter.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";
import type { TransformerConfig } from "../configs.ts";

/** Width of the sinusoidal embedding (`CombinedTimestepTextProjEmbeddings`). */
const timestepChannels = 256;

export class Embeddings {
  readonly #config: TransformerConfig;
  readonly #positions: Parameter;
  readonly #patch: Linear;
  readonly #context: Linear;
  readonly #timestep: Mlp;
  readonly #text: Mlp;

  constructor(config: TransformerConfig, weights: DeclaredWeights) {
    this.#config = config;
    const { in_channels, patch_size: p, pos_embed_max_size: max, caption_projection_dim: c } =
      config;
    this.#positions = weights.matrix("pos_embed.pos_embed", [max * max, c], {
      storedShapes: [[1, max * max, c]],
      lookup: true,
    });
    // A convolution whose stride is its kernel is a linear layer over patches.
    this.#patch = new Linear(weights, "pos_embed.proj", in_channels * p * p, c, {
      storedShape: [c, in_channels, p, p],
    });
    this.#context = new Linear(weights, "context_embedder", config.joint_attention_dim, c);
    const mlp = (name: string, inputs: number) =>
      new Mlp(weights, `time_text_embed.${name}`, {
        names: ["linear_1", "linear_2"],
        widths: [inputs, c, c],
        activation: "silu",
      });
    this.#timestep = mlp("timestep_embedder", timestepChannels);
    this.#text = mlp("text_embedder", config.pooled_projection_dim);
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
    return this.#patch.forward(rec, columns, { into: x });
  }

  /** Prompt embeddings [B, T, joint_attention_dim] to [B, T, hidden]; the same at every step. */
  context(rec: Recorder, promptEmbeds: Tensor): Tensor {
    return this.#context.forward(rec, promptEmbeds);
  }

  /** Pooled text [B, pooled_projection_dim] to its part of `temb`; the same at every step. */
  pooled(rec: Recorder, pooled: Tensor): Tensor {
    return this.#text.forward(rec, pooled);
  }

  /** `temb` [B, hidden] of timesteps [B] (0 to 1000) and `pooled()`'s result. */
  conditioning(rec: Recorder, timesteps: Tensor, pooled: Tensor): Tensor {
    const label = "time_text_embed.time_proj";
    const sinusoid = timestepEmbedding(rec, { timesteps, dim: timestepChannels, label });
    const temb = this.#timestep.forward(rec, sinusoid);
    add(rec, { x: pooled, into: temb, label: "time_text_embed.sum" });
    return temb;
  }
}
