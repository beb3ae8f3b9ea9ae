/**
 * One JointTransformerBlock (diffusers `attention.py`; MMDiT of arXiv:2403.03206, MMDiT-X where
 * `dual`): image and context streams with their own weights, joined in attention.
 */
import type { Recorder } from "../../../gpu/program.ts";
import type { PerSample, Tensor } from "../../../gpu/tensor.ts";
import type { TransformerConfig } from "../configs.ts";
import { attention } from "../../../ops/attention.ts";
import { layerNorm } from "../../../ops/layer_norm.ts";
import { linear } from "../../../ops/linear.ts";
import { qkRmsNorm } from "../../../ops/qk_rms_norm.ts";
import type { Parameter } from "../../../weights/parameter.ts";
import type { WeightPlan } from "../../../weights/plan.ts";
import type { Modulation, ModulationBuilder, ModulationSlice } from "./modulation.ts";
import { type Affine, affine, fused } from "./parameters.ts";

/** eps of every norm in the blocks; diffusers does not configure it. */
export const normEps = 1e-6;

interface Projection {
  readonly path: string;
  readonly qkv: Affine;
  readonly normQ?: Parameter;
  readonly normK?: Parameter;
  /** Absent for the context of the last block. */
  readonly out?: Affine;
}

interface FeedForward {
  readonly path: string;
  readonly normPath: string;
  readonly inner: Affine;
  readonly outer: Affine;
}

export class JointBlock {
  readonly path: string;
  readonly #config: TransformerConfig;
  readonly #norm1: ModulationSlice;
  readonly #norm1Context: ModulationSlice;
  readonly #image: Projection;
  readonly #context: Projection;
  readonly #dual: Projection | undefined;
  readonly #ff: FeedForward;
  /** Absent in the last block, whose context is not read again. */
  readonly #ffContext: FeedForward | undefined;

  constructor(
    config: TransformerConfig,
    index: number,
    plan: WeightPlan,
    modulation: ModulationBuilder,
  ) {
    this.#config = config;
    const path = this.path = `transformer_blocks.${index}`;
    const last = index === config.num_layers - 1;
    const dual = config.dual_attention_layers.includes(index);
    const c = config.caption_projection_dim;

    this.#norm1 = modulation.layer(`${path}.norm1.linear`, dual ? 9 : 6);
    this.#norm1Context = modulation.layer(`${path}.norm1_context.linear`, last ? 2 : 6);

    const projection = (
      attn: string,
      names: readonly [string, string, string],
      norms: readonly [string, string],
      out?: string,
    ): Projection => ({
      path: `${path}.${attn}`,
      qkv: fused(plan, names.map((name) => `${path}.${attn}.${name}`), c, c),
      ...(config.qk_norm && {
        normQ: plan.vector(`${path}.${attn}.${norms[0]}.weight`, config.attention_head_dim),
        normK: plan.vector(`${path}.${attn}.${norms[1]}.weight`, config.attention_head_dim),
      }),
      ...(out && { out: affine(plan, `${path}.${attn}.${out}`, c, c) }),
    });
    const own = ["to_q", "to_k", "to_v"] as const;
    const added = ["add_q_proj", "add_k_proj", "add_v_proj"] as const;
    this.#image = projection("attn", own, ["norm_q", "norm_k"], "to_out.0");
    this.#context = projection(
      "attn",
      added,
      ["norm_added_q", "norm_added_k"],
      last ? undefined : "to_add_out",
    );
    this.#dual = dual ? projection("attn2", own, ["norm_q", "norm_k"], "to_out.0") : undefined;

    const feedForward = (
      norm: string,
      name: string,
    ): FeedForward => ({
      path: `${path}.${name}`,
      normPath: `${path}.${norm}`,
      inner: affine(plan, `${path}.${name}.net.0.proj`, 4 * c, c),
      outer: affine(plan, `${path}.${name}.net.2`, c, 4 * c),
    });
    this.#ff = feedForward("norm2", "ff");
    this.#ffContext = last ? undefined : feedForward("norm2_context", "ff_context");
  }

  /**
   * Updates `x` [B, S, hidden] and `context` [B, T, hidden] in place.
   *
   * @param vectors all adaLN vectors of the step, from `Modulation.forward`
   */
  forward(
    rec: Recorder,
    x: Tensor,
    context: Tensor,
    modulation: Modulation,
    vectors: Tensor,
  ): void {
    const [shift, scale, gate, shiftMlp, scaleMlp, gateMlp, shift2, scale2, gate2] = modulation
      .chunks(vectors, this.#norm1);
    const forContext = modulation.chunks(vectors, this.#norm1Context);
    // AdaLayerNormContinuous of the last block orders its chunks scale, shift.
    const [cScale, cShift] = this.#ffContext
      ? [forContext[1], forContext[0]]
      : [forContext[0], forContext[1]];
    const label = this.path;

    // Streams go side by side: what their ops read from textures is copied there together.
    const xNormed = norm(rec, x, shift!, scale!, `${label}.norm1`);
    const cNormed = norm(rec, context, cShift!, cScale!, `${label}.norm1_context`);
    const xQkv = this.#qkv(rec, this.#image, xNormed);
    // The second attention reads x as it was before the first one's residual.
    const dualNormed = this.#dual && norm(rec, x, shift2!, scale2!, `${label}.norm1_2`);
    const cQkv = this.#qkv(rec, this.#context, cNormed);
    const dualQkv = dualNormed && this.#qkv(rec, this.#dual!, dualNormed);

    const [xOut, cOut] = this.#attend(rec, this.#image, [xQkv, cQkv]);
    const [dualOut] = dualQkv ? this.#attend(rec, this.#dual!, [dualQkv]) : [];

    this.#project(rec, this.#image, xOut!, x, gate!);
    if (dualOut) this.#project(rec, this.#dual!, dualOut, x, gate2!);
    const mlp = { ...this.#ff, x, shift: shiftMlp!, scale: scaleMlp!, gate: gateMlp! };
    if (this.#ffContext) {
      const [, , cGate, cShiftMlp, cScaleMlp, cGateMlp] = forContext;
      this.#project(rec, this.#context, cOut!, context, cGate!);
      const contextMlp = { shift: cShiftMlp!, scale: cScaleMlp!, gate: cGateMlp! };
      feedForward(rec, [mlp, { ...this.#ffContext, x: context, ...contextMlp }]);
    } else feedForward(rec, [mlp]);
  }

  /** q, k and v in one product, then q/k norm where the checkpoint has it. */
  #qkv(rec: Recorder, projection: Projection, normed: Tensor): Tensor {
    const { path, qkv: { weight, bias }, normQ, normK } = projection;
    const qkv = linear(rec, { x: normed, weight, bias: bias.tensor, label: `${path}.qkv` });
    if (normQ && normK) {
      qkRmsNorm(rec, {
        qkv,
        heads: this.#config.num_attention_heads,
        headDim: this.#config.attention_head_dim,
        qWeight: normQ.tensor,
        kWeight: normK.tensor,
        eps: normEps,
        label: `${path}.norm_qk`,
      });
    }
    return qkv;
  }

  #attend(rec: Recorder, { path }: Projection, streams: readonly Tensor[]): Tensor[] {
    const { num_attention_heads: heads, attention_head_dim: headDim } = this.#config;
    return attention(rec, { streams, heads, headDim, scale: headDim ** -0.5, label: path });
  }

  /** Adds the projection of `x` to `into`. */
  #project(
    rec: Recorder,
    { out, path }: Projection,
    x: Tensor,
    into: Tensor,
    gate: PerSample,
  ): void {
    const { weight, bias } = out!;
    linear(rec, { x, weight, bias: bias.tensor, into, gate, label: `${path}.out` });
  }
}

function norm(rec: Recorder, x: Tensor, shift: PerSample, scale: PerSample, label: string): Tensor {
  return layerNorm(rec, { x, shift, scale, eps: normEps, label });
}

interface FeedForwardOf extends FeedForward {
  /** Updated in place. */
  readonly x: Tensor;
  readonly shift: PerSample;
  readonly scale: PerSample;
  readonly gate: PerSample;
}

/** The feed-forwards of streams, side by side. */
function feedForward(rec: Recorder, streams: readonly FeedForwardOf[]): void {
  const normed = streams.map(({ x, shift, scale, normPath }) =>
    norm(rec, x, shift, scale, normPath)
  );
  const hidden = streams.map(({ path, inner: { weight, bias } }, i) => {
    const product = { x: normed[i]!, weight, bias: bias.tensor, label: `${path}.net.0` };
    return linear(rec, { ...product, activation: "gelu_tanh" });
  });
  for (const [i, { path, x, outer: { weight, bias }, gate }] of streams.entries()) {
    const product = { x: hidden[i]!, weight, bias: bias.tensor, label: `${path}.net.2` };
    linear(rec, { ...product, into: x, gate });
  }
}
